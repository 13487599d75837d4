//! A limit where it stands in a chain.

use super::{Cx, Flow, Middleware, Next, limits::Limit};
use crate::{Event, Rate, Room};

/// Limits how often a client may get past it: per event behind an event, over a room's events in front of a room, over all
/// rooms in front of the server.
///
/// Whom it counts is a user, or an address while anonymous; server code and server keys pass. Memory is bounded: see
/// [`clients`](Self::clients). A refusal is `RATE_LIMITED`, with the time after which to try again.
///
/// What every event of a room is limited to before anything is read of it, `#[room(limit = 10 per 1s)]` says; this counts
/// only what is valid and got so far.
///
/// ```
/// use dialogue::{RateLimit, prelude::*};
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// /// Everybody's telephone rings.
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
    limit: Limit,
    /// What it is called over all instances.
    name: Option<&'static str>,
}

/// How many clients it counts at once.
const CLIENTS: usize = 100_000;

impl RateLimit {
    /// So often.
    pub fn new(rate: Rate) -> Self {
        RateLimit { limit: Limit::new(rate, CLIENTS), name: None }
    }

    /// Counts about so many clients at once, 100,000 by default; each takes 36 bytes. Beyond, newcomers share what one of
    /// them may do, until somebody else has everything left again.
    #[must_use]
    pub fn clients(self, clients: usize) -> Self {
        RateLimit { limit: Limit::new(self.limit.rate(), clients), ..self }
    }

    /// Counts over all instances, under this name, where the server has a [quota](crate::ServerBuilder::quota) of them.
    #[must_use]
    pub fn shared(self, name: &'static str) -> Self {
        RateLimit { name: Some(name), ..self }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for RateLimit {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        match (&cx.subject, self.name) {
            (Some(subject), Some(name)) => {
                self.limit.take_shared(name, subject, cx.limiter.shared()).await?;
            }
            (Some(subject), None) => self.limit.take(subject).map_err(crate::Refusal::rate_limited)?,
            (None, _) => {}
        }
        next.run(cx, event).await
    }
}
