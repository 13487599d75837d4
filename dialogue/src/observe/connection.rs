//! The meter of a WebSocket connection or event stream, for how many are open and the reason for which each ended. A
//! [`Session`](crate::session::Session) owns one [`ConnectionMeter`].

use std::sync::Arc;

use super::{
    ServerMetrics,
    labels::{CloseReason, Source},
};

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
