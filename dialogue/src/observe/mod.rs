//! What operators see of a server: numbers, for Prometheus, StatsD or a sink of one's own.
//!
//! A server measures itself only if somebody looks: give [`ServerBuilder::metrics`](crate::ServerBuilder::metrics) a
//! [`Metrics`]. Each event then costs a few additions to numbers of its room that were looked up when the server was built,
//! and a count for each of its recipients; names and texts are put together when a sink [reads](Readings::read).
//!
#![doc = include_str!("../docs/metrics.md")]

mod ended;
mod family;
mod instrument;
mod measures;
mod meter;
mod metrics;
mod origin;
#[cfg(feature = "metrics")]
mod prometheus;
mod readings;
mod refused;
pub(crate) mod spans;
#[cfg(feature = "statsd")]
mod statsd;
mod timed;
mod trace;

pub(crate) use ended::{Connected, Ended};
pub use family::{Family, Kind};
use measures::Outcome;
pub(crate) use measures::{Measures, Probed, StoreProbed};
pub(crate) use meter::{Counted, Meter, Resumed};
pub use metrics::{Endpoint, Metrics};
pub(crate) use origin::{Origin, Source, refused};
#[cfg(feature = "metrics")]
pub use prometheus::Prometheus;
pub use readings::{Measured, Readings, Series, Value};
pub(crate) use refused::RefusedLog;
#[cfg(feature = "statsd")]
pub use statsd::{StatsD, StatsDError};
pub(crate) use timed::{Timed, TimedBackplane};
pub(crate) use trace::Traces;
pub use trace::{NotTraced, TraceContext, TraceParent};
