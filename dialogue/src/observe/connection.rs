//! The metrics of WebSocket connections and event streams: how many are open, and the reason for which each ended. A
//! [`Session`](crate::session::Session) owns one [`ConnectionMeter`].

use std::sync::Arc;

use super::{ServerMetrics, Source};

/// The reason for which a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    Closed,
    Lost,
    TooSlow,
    Silent,
    Removed,
    NoToken,
    Expired,
    Refused,
    RateLimited,
    Malformed,
    Draining,
}

impl CloseReason {
    pub(super) const ALL: [CloseReason; 11] = [
        CloseReason::Closed,
        CloseReason::Lost,
        CloseReason::TooSlow,
        CloseReason::Silent,
        CloseReason::Removed,
        CloseReason::NoToken,
        CloseReason::Expired,
        CloseReason::Refused,
        CloseReason::RateLimited,
        CloseReason::Malformed,
        CloseReason::Draining,
    ];

    /// Returns the text for the application's hooks and for the close frame.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            CloseReason::Closed => "the client closed",
            CloseReason::Lost => "the connection was lost",
            CloseReason::TooSlow => "reads too slowly",
            CloseReason::Silent => "no pong in time",
            CloseReason::Removed => "removed by the server",
            CloseReason::NoToken => "no valid token",
            CloseReason::Expired => "the token expired",
            CloseReason::Refused => "refused",
            CloseReason::RateLimited => "kept exceeding limits",
            CloseReason::Malformed => "broke the protocol",
            CloseReason::Draining => "the node is draining",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            CloseReason::Closed => "closed",
            CloseReason::Lost => "lost",
            CloseReason::TooSlow => "too_slow",
            CloseReason::Silent => "silent",
            CloseReason::Removed => "removed",
            CloseReason::NoToken => "no_token",
            CloseReason::Expired => "expired",
            CloseReason::Refused => "refused",
            CloseReason::RateLimited => "limited",
            CloseReason::Malformed => "malformed",
            CloseReason::Draining => "draining",
        }
    }
}

/// Counts a connection from [`open`](Self::open) until it is dropped. Does nothing on a server without metrics.
#[derive(Debug)]
pub(crate) struct ConnectionMeter {
    metrics: Option<Arc<ServerMetrics>>,
    source: Source,
    reason: CloseReason,
}

impl ConnectionMeter {
    pub(crate) fn new(source: Source) -> Self {
        ConnectionMeter { metrics: None, source, reason: CloseReason::Lost }
    }

    pub(crate) fn open(&mut self, metrics: Option<&Arc<ServerMetrics>>) {
        self.metrics = metrics.cloned();
        self.metrics.iter().for_each(|metrics| metrics.connected(self.source));
    }

    /// Sets the reason for which the connection is about to end: [`CloseReason::Lost`] unless this is called.
    pub(crate) fn end(&mut self, reason: CloseReason) {
        self.reason = reason;
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.reason.reason()
    }
}

impl Drop for ConnectionMeter {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.disconnected(self.source, self.reason);
        }
    }
}
