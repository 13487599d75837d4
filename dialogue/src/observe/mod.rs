//! Metrics and traces of a server: exporters for Prometheus and StatsD, the [`MetricsExporter`] trait for others, and
//! [`TraceContext`] for distributed traces.
//!
//! A server records metrics only if [`ServerBuilder::metrics`](crate::server::ServerBuilder::metrics) was given a
//! [`MetricsExporter`]. Each event then costs a few atomic additions to counters of its room, which were looked up when
//! the server was built, and one for each of its recipients; names and labels are put together when an exporter
//! [reads](MetricsReader::read).
//!
#![doc = include_str!("../docs/metrics.md")]

mod connection;
mod descriptor;
mod instrument;
mod instrumented;
mod labels;
mod meter;
mod origin;
mod refusal_counters;
mod refusal_log;
mod server_metrics;
pub(crate) mod spans;
mod trace;

pub(crate) use connection::ConnectionMeter;
#[doc(inline)]
pub use dialogue_core::metrics::{
    MetricDescriptor, MetricFamily, MetricKind, MetricValue, MetricsEndpoint, MetricsExporter, MetricsReader,
    MetricsSource, Series,
};
#[cfg(feature = "metrics")]
#[doc(inline)]
pub use dialogue_prometheus::Prometheus;
#[cfg(feature = "statsd")]
#[doc(inline)]
pub use dialogue_statsd::{StatsD, StatsDError};
pub(crate) use instrumented::{InstrumentedBackplane, InstrumentedStore};
pub(crate) use labels::{CloseReason, Source};
pub(crate) use meter::{Meter, RoomInstanceGuard};
pub(crate) use origin::{EventOrigin, record_refusal};
pub(crate) use refusal_log::RefusalLog;
pub(crate) use server_metrics::{Sample, ServerMetrics, StoreSample};
pub(crate) use trace::Traces;
pub use trace::{ParseTraceParentError, TraceContext, TraceParent};
