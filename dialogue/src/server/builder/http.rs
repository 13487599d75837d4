//! Bounds on the HTTP connections that the server accepts itself.

use std::time::Duration;

use super::{MAX_TIMEOUT, ServerBuilder};
use crate::server::application::Application;

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Sets the maximum size of the head of an HTTP request, in bytes, under [`Server::serve`](crate::Server::serve): 32 KiB by default, at
    /// least 8 KiB. A larger one is refused with status 431.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.settings.bounds.http.max_header_bytes = bytes.max(8 << 10);
        self
    }

    /// Sets the time in which the head of an HTTP request (a handshake included) must arrive, under [`Server::serve`](crate::Server::serve):
    /// 10 s by default. Then the connection is closed.
    pub fn header_read_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.http.header_read_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the time that an HTTP connection may be idle between two requests, under [`Server::serve`](crate::Server::serve): 75 s by
    /// default. Then it is closed. It should be longer than the time for which a proxy keeps idle connections (mostly
    /// 60 s): otherwise the proxy may send a request into a connection that is being closed.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.http.idle_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the time in which a client may take nothing of an HTTP response, under [`Server::serve`](crate::Server::serve): 30 s by default.
    /// Then the connection is closed, or the HTTP/2 stream is reset. For an event stream,
    /// [`stream_stall_timeout`](Self::stream_stall_timeout) applies if it is longer.
    pub fn response_stall_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.http.response_stall_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the maximum of bytes in the process that Dialogue's own HTTP responses of over 16 KiB, such as pages of
    /// history, hold for clients that haven't taken them: 64 MiB by default. Beyond it, a request for one more is
    /// refused with `UNAVAILABLE`. From half of it on, under
    /// [`Server::serve`](crate::Server::serve), clients that take nothing for a second are disconnected.
    pub fn max_buffered_response_bytes(mut self, bytes: usize) -> Self {
        self.settings.bounds.http.max_buffered_response_bytes = bytes;
        self
    }

    /// Sets the time after which a connection whose peer vanished is ended, under [`Server::serve`](crate::Server::serve): 60 s by default,
    /// at least 6 s. TCP keep-alive probes begin after half of that in silence. On Linux, bytes that were sent must be
    /// acknowledged within that time, or within 10 s more than the longest stall timeout if that is longer (TCP user
    /// timeout, RFC 5482): 70 s by default. It applies to all connections.
    pub fn unreachable_timeout(mut self, time: Duration) -> Self {
        self.settings.bounds.http.unreachable_timeout = time.clamp(Duration::from_secs(6), MAX_TIMEOUT);
        self
    }

    /// Sets the maximum of concurrent streams of an HTTP/2 connection, under [`Server::serve`](crate::Server::serve): 100 by default, at
    /// least 1. Each request, event stream and socket is one. A client opens no more, or gets `REFUSED_STREAM`.
    #[cfg(feature = "http2")]
    pub fn max_http2_streams(mut self, streams: u32) -> Self {
        self.settings.bounds.http.max_http2_streams = streams.max(1);
        self
    }
}
