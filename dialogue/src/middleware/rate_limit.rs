//! Middleware that limits the rate of events.

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Rate, Room, limits::KeyedLimiter};

/// Limits the rate of a client's events: of one event if it is listed with an event, of all events of a room if it is
/// listed with a room, of all rooms if it is the server's.
///
/// A client is a user, or an address for anonymous users; server code and server keys pass. Memory is bounded: see
/// [`clients`](Self::clients). An event beyond the rate is refused with `RATE_LIMITED` and the time after which to try
/// again.
///
/// Only events that are valid and have passed the middleware before are counted. The limit of
/// `#[room(limit = 10 per 1s)]` counts every event of a room, before it is decoded.
///
/// ```
/// use dialogue::{middleware::RateLimit, prelude::*};
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// /// Rings the telephone of every member.
/// #[dialogue::event]
/// pub struct Alarm;
///
/// dialogue::rooms! {
///     chat: [Message, Alarm with [RateLimit::new(1.per_hour())]] via [websocket];
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct RateLimit {
    limit: KeyedLimiter,
    /// The name of the limit in the shared quota.
    name: Option<&'static str>,
}

const DEFAULT_MAX_CLIENTS: usize = 100_000;

impl RateLimit {
    /// Limits each client to `rate`.
    pub fn new(rate: Rate) -> Self {
        RateLimit { limit: KeyedLimiter::new(rate, DEFAULT_MAX_CLIENTS), name: None }
    }

    /// Sets the approximate number of clients that are counted separately, by default 100,000; each takes 36 bytes.
    /// Further clients share the rate of one, until the entry of another expires because its full rate is available
    /// again.
    #[must_use]
    pub fn clients(self, clients: usize) -> Self {
        RateLimit { limit: KeyedLimiter::new(self.limit.rate(), clients), ..self }
    }

    /// Also counts over all nodes, under this name, if the server has a shared
    /// [quota](crate::server::ServerBuilder::quota).
    #[must_use]
    pub fn shared(self, name: &'static str) -> Self {
        RateLimit { name: Some(name), ..self }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for RateLimit {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        match (&cx.event.rate_limit_key, self.name) {
            (Some(rate_limit_key), Some(name)) => {
                self.limit.take_shared(name, rate_limit_key, cx.event.limiter.shared()).await?;
            }
            (Some(rate_limit_key), None) => {
                self.limit.take(rate_limit_key).map_err(crate::Refusal::rate_limited)?
            }
            (None, _) => {}
        }
        next.run(cx, event).await
    }
}
