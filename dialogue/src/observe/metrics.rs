//! The sinks of what a server measures.

use std::fmt;

use axum::routing::MethodRouter;

use super::Readings;

/// Where the numbers of a server go.
///
/// It is handed [`Readings`] when the server is built, and reads them whenever it likes: on a scrape, or every few seconds.
///
/// ```
/// use std::time::Duration;
/// use dialogue::observe::{Metrics, Readings, Value};
///
/// /// Prints what was counted, every minute.
/// struct Printed;
///
/// impl Metrics for Printed {
///     fn attach(&self, readings: Readings) {
///         tokio::spawn(async move {
///             // Nothing more once the server is gone.
///             while let Some(measured) = readings.read() {
///                 for measured in measured {
///                     for series in measured.series {
///                         if let Value::Count(count) = series.value {
///                             println!("{}{:?} {count}", measured.family.name, series.labels);
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
/// let server = Acme::server().metrics(Printed).build().await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
pub trait Metrics: Send + Sync + 'static {
    /// Is called once, when the server is built, in its runtime.
    fn attach(&self, readings: Readings);

    /// A page of its own, which the server's router then has. None by default.
    fn endpoint(&self) -> Option<Endpoint> {
        None
    }

    /// Is called when the server has drained, so that what was counted last isn't lost. It must not block for long. Does
    /// nothing by default.
    fn flush(&self) {}
}

/// A page that a sink serves.
pub struct Endpoint {
    /// Where: `/metrics`. One place, no pattern.
    pub path: String,
    /// What answers there. It is asked by whoever reaches the server, without a token.
    pub handler: MethodRouter,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("path", &self.path).finish_non_exhaustive()
    }
}
