//! Rate limits.

use super::ServerBuilder;
use crate::{Rate, server::application::Application};

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Limits the requests of a client, over all rooms, sockets and HTTP together: events, joins, pages of history and
    /// every other frame. There is no limit by default.
    ///
    /// A client is a user, or an address while it is anonymous, so that reconnecting resets nothing. Requests beyond
    /// the limit are refused with `RATE_LIMITED`; a socket with more than 100 such refusals in 10 s is closed with
    /// 4429. The limit of a room is part of its declaration, that of an event part of its middleware:
    /// [`RateLimit`](crate::middleware::RateLimit). Server code and server keys have no limit.
    ///
    /// ```
    /// use dialogue::prelude::*;
    ///
    /// #[dialogue::event]
    /// pub struct Message { pub text: String }
    ///
    /// dialogue::rooms! {
    ///     pub struct Acme;
    ///     #[room(limit = 10 per 1s burst 20)]
    ///     chat: [Message] via [websocket];
    /// }
    ///
    /// let server = Acme::server().limit(100.per_minute());
    /// # drop(server);
    /// ```
    pub fn limit(mut self, rate: Rate) -> Self {
        self.settings.rates.requests = Some(rate);
        self
    }

    /// Limits the frames of a connection, whatever they hold: 100 per second by default, with a burst of 500. Frames
    /// beyond the limit are refused with `RATE_LIMITED`.
    pub fn limit_frames(mut self, rate: Rate) -> Self {
        self.settings.rates.frames = Some(rate);
        self
    }

    /// Removes the limit of [`limit_frames`](Self::limit_frames).
    pub fn without_frame_limit(mut self) -> Self {
        self.settings.rates.frames = None;
        self
    }

    /// Limits the requests of a client over plain HTTP, over all rooms: 100 per second by default, with a burst of 500.
    /// Requests beyond the limit are refused with status 429.
    ///
    /// A client is a user, or an address while it is anonymous; see [`behind_proxies`](Self::behind_proxies). The
    /// frames of a user's sockets count too, though only [`limit_frames`](Self::limit_frames) limits those. Server keys
    /// have no limit, and [`limit`](Self::limit) applies as well.
    pub fn limit_http(mut self, rate: Rate) -> Self {
        self.settings.rates.http = Some(rate);
        self
    }

    /// Removes the limit of [`limit_http`](Self::limit_http).
    pub fn without_http_limit(mut self) -> Self {
        self.settings.rates.http = None;
        self
    }

    /// Limits the sockets and streams that an address opens: 50 per second by default, with a burst of 500. Further
    /// ones are refused with status 429. The loopback address has no limit.
    pub fn limit_connects(mut self, rate: Rate) -> Self {
        self.settings.rates.connects = Some(rate);
        self
    }

    /// Removes the limit of [`limit_connects`](Self::limit_connects).
    pub fn without_connect_limit(mut self) -> Self {
        self.settings.rates.connects = None;
        self
    }

    /// Sets the maximum of clients that each rate limit tracks at once: 1,000,000 by default, which take 36 MB. Clients
    /// beyond it share one allowance until a tracked client has its full allowance again and is dropped.
    pub fn max_tracked_clients(mut self, clients: usize) -> Self {
        self.settings.rates.clients = clients;
        self
    }
}
