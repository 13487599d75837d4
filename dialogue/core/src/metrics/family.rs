//! Metric families with their series, as in the data model of
//! [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/).

use super::MetricDescriptor;

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

impl MetricFamily {
    /// Creates the family with these series.
    pub fn new(descriptor: &'static MetricDescriptor, series: Vec<Series>) -> Self {
        MetricFamily { descriptor, series }
    }
}

impl Series {
    /// Creates a series with values for the labels of its family, in their order.
    pub fn new(labels: Vec<&'static str>, value: MetricValue) -> Self {
        Series { labels, value }
    }
}
