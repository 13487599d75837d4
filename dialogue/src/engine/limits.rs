//! How much of anything a server allows.

use std::time::Duration;

/// Bounds, each with a default that is safe in production.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a frame that a client sends, and of an HTTP body.
    pub(crate) frame: usize,
    /// Bytes that wait for a connection which reads too slowly, before it is cut.
    pub(crate) outbox: usize,
    /// Rooms that a connection is in.
    pub(crate) rooms: usize,
    /// Event names in a list of them.
    pub(crate) subscriptions: usize,
    /// Levels of a frame's JSON.
    pub(crate) depth: usize,
    /// Events of a page of history.
    pub(crate) history: usize,
    /// Connections of a user.
    pub(crate) connections: usize,
    /// Connections of an address.
    pub(crate) address_connections: usize,
    /// Proxies in front, which say whom they speak for.
    pub(crate) proxies: usize,
    /// How long the head of a request may take to come.
    pub(crate) head_within: Duration,
    /// How long a connection may wait for its next request.
    pub(crate) idle_within: Duration,
    /// How long the client may take nothing of a response.
    pub(crate) response_within: Duration,
    /// Bytes of long responses that wait for their clients.
    pub(crate) responses: usize,
    /// How long nothing may be heard of a peer that has to answer.
    pub(crate) unreachable_within: Duration,
    /// Streams of a connection of HTTP/2.
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    pub(crate) streams: u32,
    /// Bytes of the head of a request.
    pub(crate) head: usize,
    /// Rooms that a user created.
    pub(crate) created: usize,
    /// How long a socket may show no token where one is required.
    pub(crate) token_within: Duration,
    /// Between two pings to a silent socket.
    pub(crate) ping_every: Duration,
    /// How long a socket may then go on being silent.
    pub(crate) pong_within: Duration,
    /// How long a reader may take nothing of what waits for it.
    pub(crate) stall: Duration,
    /// How long draining takes at most.
    pub(crate) drain: Duration,
}

/// The least that a reader has to take something, whatever is configured.
const LEAST_STALL: Duration = Duration::from_secs(30);

impl Limits {
    /// The time that a reader may take nothing of what waits for it.
    pub(crate) fn stalls_after(&self) -> Duration {
        self.stall.max(LEAST_STALL)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame: 64 << 10,
            outbox: 1 << 20,
            rooms: 256,
            subscriptions: 128,
            depth: 64,
            history: 200,
            connections: 64,
            address_connections: 1_024,
            proxies: 0,
            head_within: Duration::from_secs(10),
            // Load balancers and proxies keep idle connections for 60 s and have to give them up first.
            idle_within: Duration::from_secs(75),
            response_within: Duration::from_secs(30),
            responses: 64 << 20,
            unreachable_within: Duration::from_secs(60),
            streams: 100,
            head: 32 << 10,
            created: 100,
            token_within: Duration::from_secs(10),
            ping_every: Duration::from_secs(25),
            pong_within: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            drain: Duration::from_secs(15),
        }
    }
}
