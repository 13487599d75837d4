//! The metrics of a server as exporters read them: families with their series, as in the data model of
//! [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/).

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{MetricDescriptor, ServerMetrics};

/// Reads the current metrics of a server at any time. Cheap to clone; it doesn't keep the server alive.
#[derive(Clone)]
pub struct MetricsReader(Weak<ServerMetrics>);

/// The current values of a metric family.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MetricFamily {
    /// The name, kind and labels of the family.
    pub descriptor: &'static MetricDescriptor,
    /// One series for each possible combination of label values, zeros included. Empty if the server doesn't have the
    /// part that is measured, such as a store or push.
    pub series: Vec<Series>,
}

/// One time series of a family: its label values and its current value.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Series {
    /// The values of the family's [labels](MetricDescriptor::labels), in their order. All are declared names or
    /// constants of this library; none comes from a client.
    pub labels: Vec<&'static str>,
    /// The current value.
    pub value: MetricValue,
}

/// The value of a series, since the server was built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// The value of a counter.
    Counter(u64),
    /// The value of a gauge.
    Gauge(f64),
    /// The buckets of a histogram of durations.
    Histogram {
        /// The sum of all durations, in seconds.
        sum: f64,
        /// The upper bound of each bucket in seconds, inclusive, and the number of durations in it and in no lower one
        /// (not cumulative, other than in Prometheus); the last bound is infinite.
        buckets: Vec<(f64, u64)>,
    },
}

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
