//! Descriptions of metric families.

/// The description of a metric family: metrics of one name and kind, with one series for each combination of their
/// labels.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricDescriptor {
    /// The name, as Prometheus shows it: a counter's name ends in `_total`, a duration's in `_seconds`.
    pub name: &'static str,
    /// The help text, one sentence.
    pub help: &'static str,
    /// The kind of its series.
    pub kind: MetricKind,
    /// The names of the labels of each series.
    pub labels: &'static [&'static str],
}

/// The kind of a metric, as in Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A count that only increases while the process runs.
    Counter,
    /// A current amount, which goes up and down.
    Gauge,
    /// A distribution of durations, counted in buckets.
    Histogram,
}

impl MetricDescriptor {
    /// Describes a metric family.
    pub const fn new(
        name: &'static str,
        kind: MetricKind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        MetricDescriptor { name, help, kind, labels }
    }
}
