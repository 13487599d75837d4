//! The reader through which exporters get the metrics of a server.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{MetricFamily, ServerMetrics};

/// Reads the current metrics of a server at any time. Cheap to clone; it doesn't keep the server alive.
#[derive(Clone)]
pub struct MetricsReader(Weak<ServerMetrics>);

impl MetricsReader {
    pub(crate) fn new(metrics: &Arc<ServerMetrics>) -> Self {
        MetricsReader(Arc::downgrade(metrics))
    }

    /// Returns all families, always in the same order, or `None` once the server is dropped. Costs some microseconds
    /// per thousand series, and one lock per connection for the bytes queued in outboxes.
    pub fn read(&self) -> Option<Vec<MetricFamily>> {
        self.0.upgrade().map(|metrics| metrics.read())
    }
}

impl fmt::Debug for MetricsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsReader")
    }
}
