//! The reader through which exporters get the metrics of a server.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::MetricFamily;

/// Reads the current metrics of a server at any time. Cheap to clone; it doesn't keep the server alive.
#[derive(Clone)]
pub struct MetricsReader(Weak<dyn MetricsSource>);

/// The metrics of a server, or of a test of an exporter.
pub trait MetricsSource: Send + Sync + 'static {
    /// Returns the current values of all metric families.
    fn read(&self) -> Vec<MetricFamily>;
}

impl MetricsReader {
    /// Creates a reader of `source`, which it doesn't keep alive.
    pub fn new<S: MetricsSource>(source: &Arc<S>) -> Self {
        let source: Weak<S> = Arc::downgrade(source);
        MetricsReader(source)
    }

    /// Returns all families, always in the same order, or `None` once the server is dropped. Costs some microseconds
    /// per thousand series, and one lock per connection for the bytes queued in outboxes.
    pub fn read(&self) -> Option<Vec<MetricFamily>> {
        self.0.upgrade().map(|source| source.read())
    }
}

impl fmt::Debug for MetricsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsReader")
    }
}
