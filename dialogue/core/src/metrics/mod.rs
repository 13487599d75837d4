//! Exporters of metrics: the trait [`MetricsExporter`], and the metric families that it exports.

mod descriptor;
mod exporter;
mod family;
mod reader;

pub use descriptor::{MetricDescriptor, MetricKind};
pub use exporter::{MetricsEndpoint, MetricsExporter};
pub use family::{MetricFamily, MetricValue, Series};
pub use reader::{MetricsReader, MetricsSource};
