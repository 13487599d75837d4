//! The trait of metrics exporters.

use std::fmt;

use axum::routing::MethodRouter;

use super::MetricsReader;

/// Exports the metrics of a server to a monitoring system: an implementation is given to `ServerBuilder::metrics`.
///
/// An exporter gets a [`MetricsReader`] when the server is built, and reads it whenever it needs to: on a scrape
/// (pull), or at an interval (push).
///
/// ```
/// use std::time::Duration;
/// use dialogue::observe::{MetricValue, MetricsExporter, MetricsReader};
///
/// /// Prints all counters every minute.
/// struct StdoutExporter;
///
/// impl MetricsExporter for StdoutExporter {
///     fn attach(&self, reader: MetricsReader) {
///         tokio::spawn(async move {
///             // `None` once the server is dropped.
///             while let Some(families) = reader.read() {
///                 for family in families {
///                     for series in family.series {
///                         if let MetricValue::Counter(count) = series.value {
///                             println!("{}{:?} {count}", family.descriptor.name, series.labels);
///                         }
///                     }
///                 }
///                 tokio::time::sleep(Duration::from_secs(60)).await;
///             }
///         });
///     }
/// }
///
/// # #[dialogue::event] pub struct Message { pub text: String }
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> dialogue::Result<()> {
/// let server = Acme::server().metrics(StdoutExporter).build().await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
pub trait MetricsExporter: Send + Sync + 'static {
    /// Takes the reader of the server's metrics. The server calls it once, when it is built, within its tokio runtime.
    fn attach(&self, reader: MetricsReader);

    /// Returns the HTTP endpoint that the server's router serves for this exporter, if it has one. `None` by default.
    fn endpoint(&self) -> Option<MetricsEndpoint> {
        None
    }

    /// Exports the last values. The server calls it when it has drained; it must not block for long. Does nothing by
    /// default.
    fn flush(&self) {}
}

/// An HTTP endpoint of a metrics exporter.
pub struct MetricsEndpoint {
    /// The path, such as `/metrics`, without a pattern.
    pub path: String,
    /// The handler. Requests reach it without authentication.
    pub handler: MethodRouter,
}

impl fmt::Debug for MetricsEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsEndpoint").field("path", &self.path).finish_non_exhaustive()
    }
}
