//! The bounds of a server: the maximum sizes, counts and times that its [builder](crate::server::ServerBuilder) sets.

use std::time::Duration;

/// The bounds of a server, each named as the builder's method that sets it, with a default that is safe in production.
#[derive(Debug, Clone)]
pub(crate) struct ServerBounds {
    pub(crate) requests: RequestBounds,
    pub(crate) connections: ConnectionBounds,
    pub(crate) clients: ClientBounds,
    pub(crate) http: HttpBounds,
    pub(crate) drain_timeout: Duration,
}

/// The bounds of a request, over a socket or HTTP.
#[derive(Debug, Clone)]
pub(crate) struct RequestBounds {
    pub(crate) max_frame_bytes: usize,
    pub(crate) max_json_depth: usize,
    pub(crate) max_subscribed_events: usize,
    pub(crate) max_history_events: usize,
}

/// The bounds of a connection: a socket or an event stream.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionBounds {
    pub(crate) max_outbox_bytes: usize,
    pub(crate) max_rooms_per_connection: usize,
    pub(crate) auth_timeout: Duration,
    /// The silence of a client after which it is sent a ping.
    pub(crate) ping_interval: Duration,
    /// The time that the client then has to answer.
    pub(crate) pong_timeout: Duration,
    stall_timeout: Duration,
}

/// The bounds of what one client holds.
#[derive(Debug, Clone)]
pub(crate) struct ClientBounds {
    pub(crate) max_connections_per_user: usize,
    pub(crate) max_connections_per_address: usize,
    /// The number of proxies in front of the server, each of which appends the address of its client to a header.
    pub(crate) proxies: usize,
    pub(crate) max_created_rooms_per_user: usize,
}

/// The bounds of the HTTP connections that the server accepts itself.
#[derive(Debug, Clone)]
pub(crate) struct HttpBounds {
    pub(crate) max_header_bytes: usize,
    pub(crate) header_read_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) response_stall_timeout: Duration,
    pub(crate) max_buffered_response_bytes: usize,
    pub(crate) unreachable_timeout: Duration,
    #[cfg_attr(not(feature = "http2"), allow(dead_code))]
    pub(crate) max_http2_streams: u32,
}

/// The minimum of [`stall_timeout`](ConnectionBounds::stall_timeout): a phone that changes networks may be silent for
/// almost as long.
const MIN_STALL_TIMEOUT: Duration = Duration::from_secs(30);

impl ConnectionBounds {
    /// Returns the time in which a reader may take none of the bytes in its outbox.
    pub(crate) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    pub(crate) fn set_stall_timeout(&mut self, timeout: Duration) {
        self.stall_timeout = timeout.max(MIN_STALL_TIMEOUT);
    }
}

impl Default for ServerBounds {
    fn default() -> Self {
        ServerBounds {
            requests: RequestBounds {
                max_frame_bytes: 64 << 10,
                max_json_depth: 64,
                max_subscribed_events: 128,
                max_history_events: 200,
            },
            connections: ConnectionBounds {
                max_outbox_bytes: 1 << 20,
                max_rooms_per_connection: 256,
                auth_timeout: Duration::from_secs(10),
                ping_interval: Duration::from_secs(25),
                pong_timeout: Duration::from_secs(20),
                stall_timeout: Duration::from_secs(60),
            },
            clients: ClientBounds {
                max_connections_per_user: 64,
                max_connections_per_address: 1_024,
                proxies: 0,
                max_created_rooms_per_user: 100,
            },
            http: HttpBounds {
                max_header_bytes: 32 << 10,
                header_read_timeout: Duration::from_secs(10),
                // Load balancers and proxies keep idle connections for 60 s and have to give them up first.
                idle_timeout: Duration::from_secs(75),
                response_stall_timeout: Duration::from_secs(30),
                max_buffered_response_bytes: 64 << 20,
                unreachable_timeout: Duration::from_secs(60),
                max_http2_streams: 100,
            },
            drain_timeout: Duration::from_secs(15),
        }
    }
}
