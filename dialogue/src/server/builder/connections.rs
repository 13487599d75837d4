//! Bounds on a connection and on its requests.

use std::time::Duration;

use super::{MAX_TIMEOUT, ServerBuilder};
use crate::{server::application::Application, session::HISTORY_LIMITS};

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Sets the maximum size of a client's frame and of an HTTP body, in bytes: 64 KiB by default. A larger frame
    /// closes the socket with 1009.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.settings.bounds.requests.max_frame_bytes = bytes;
        self
    }

    /// Sets the maximum of bytes in the outbox of a connection that reads too slowly: 1 MiB by default. Beyond it, the
    /// connection is closed with 4409, and its client resumes from the log.
    pub fn max_outbox_bytes(mut self, bytes: usize) -> Self {
        self.settings.bounds.connections.max_outbox_bytes = bytes;
        self
    }

    /// Sets the maximum of rooms that one connection may be in: 256 by default. A further join is refused with
    /// `TOO_MANY`.
    pub fn max_rooms_per_connection(mut self, rooms: usize) -> Self {
        self.settings.bounds.connections.max_rooms_per_connection = rooms;
        self
    }

    /// Sets the maximum of event names in a `join`, a `subscribe` and the query of a stream: 128 by default, as many as
    /// a room may declare. Beyond it, the request is refused with `TOO_MANY`.
    pub fn max_subscribed_events(mut self, names: usize) -> Self {
        self.settings.bounds.requests.max_subscribed_events = names;
        self
    }

    /// Sets the maximum depth of nested JSON in a frame or an HTTP body: 64 levels by default, at most 127. Deeper ones
    /// are refused with `INVALID_REQUEST`.
    pub fn max_json_depth(mut self, levels: usize) -> Self {
        self.settings.bounds.requests.max_json_depth = levels.min(127);
        self
    }

    /// Sets the maximum of events on a page of history: 200 by default, which is also the most. A client that asks for
    /// more gets this number.
    pub fn max_history_events(mut self, events: usize) -> Self {
        self.settings.bounds.requests.max_history_events = events.clamp(1, HISTORY_LIMITS.max);
        self
    }

    /// Sets the silence after which a socket is sent a ping, and the time in which it must then send anything: 25 s and
    /// 20 s by default. A socket that stays silent is closed with 4408.
    pub fn keep_alive(mut self, every: Duration, within: Duration) -> Self {
        (self.settings.bounds.connections.ping_interval, self.settings.bounds.connections.pong_timeout) =
            (every.min(MAX_TIMEOUT), within.min(MAX_TIMEOUT));
        self
    }

    /// Sets the time in which a client may take nothing of its outbox: 60 s by default, at least 30 s. Then, after at
    /// most half as long again, the connection of an event stream leaves its rooms; a socket is closed with 4409 when
    /// [`keep_alive`](Self::keep_alive) next checks it.
    pub fn stream_stall_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.connections.set_stall_timeout(time.min(MAX_TIMEOUT));
        self
    }

    /// Sets the maximum duration of a drain, whatever clients do: 15 s by default.
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.drain_timeout = time.min(MAX_TIMEOUT);
        self
    }
}
