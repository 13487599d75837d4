//! Numbers for Prometheus, in the text format of OpenMetrics.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::{Endpoint, Kind, Measured, Metrics, Readings, Value};

/// A server's numbers for Prometheus: on a page of their own, or in a registry that the application has already.
///
/// ```
/// use dialogue::observe::Prometheus;
///
/// # #[dialogue::event] pub struct Message { pub text: String }
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> dialogue::Result<()> {
/// let server = Acme::server().metrics(Prometheus::at("/metrics")).build().await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Prometheus {
    path: Option<String>,
    source: Arc<OnceLock<Readings>>,
}

impl Prometheus {
    /// Serves them at `path` of the server's router. Whoever reaches the server may read them, without a token: names of
    /// rooms and events, and how busy they are. Where that is too much, let the proxy in front refuse the path, or take
    /// [`within`](Self::within) and serve the registry elsewhere.
    pub fn at(path: impl Into<String>) -> Self {
        Prometheus { path: Some(path.into()), source: Arc::default() }
    }

    /// Has them in `registry`, beside the application's own, which is served by the application. A prefix or labels of the
    /// registry are added to them.
    ///
    /// ```
    /// use dialogue::observe::Prometheus;
    /// use prometheus_client::registry::Registry;
    ///
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut registry = Registry::default();
    /// let server = Acme::server().metrics(Prometheus::within(&mut registry)).build().await?;
    /// let mut page = String::new();
    /// prometheus_client::encoding::text::encode(&mut page, &registry)?;
    /// assert!(page.contains("dialogue_connections_active 0"));
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn within(registry: &mut Registry) -> Self {
        let source: Arc<OnceLock<Readings>> = Arc::default();
        registry.register_collector(Box::new(Collected(Arc::clone(&source))));
        Prometheus { path: None, source }
    }
}

impl Metrics for Prometheus {
    fn attach(&self, readings: Readings) {
        // It is given to one server.
        let _ = self.source.set(readings);
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let path = self.path.clone()?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collected(Arc::clone(&self.source))));
        let registry = Arc::new(registry);
        let handler = get(move || std::future::ready(page(&registry)));
        Some(Endpoint { path, handler })
    }
}

fn page(registry: &Registry) -> Response {
    const TEXT: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let mut body = String::new();
    match text::encode(&mut body, registry) {
        Ok(()) => ([(CONTENT_TYPE, TEXT)], body).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What a registry asks on each scrape.
#[derive(Debug)]
struct Collected(Arc<OnceLock<Readings>>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measured = self.0.get().and_then(Readings::read).unwrap_or_default();
        measured.iter().try_for_each(|measured| put(&mut encoder, measured))
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, measured: &Measured) -> fmt::Result {
    let (family, kind) = match measured.family.kind {
        // The encoder adds what the names of counters end in.
        Kind::Counter => (measured.family.name.trim_end_matches("_total"), MetricType::Counter),
        Kind::Gauge => (measured.family.name, MetricType::Gauge),
        Kind::Histogram => (measured.family.name, MetricType::Histogram),
    };
    let mut metric = encoder.encode_descriptor(family, measured.family.help, None, kind)?;
    for series in &measured.series {
        let labels: Vec<_> =
            measured.family.labels.iter().copied().zip(series.labels.iter().copied()).collect();
        if labels.is_empty() {
            put_value(&mut metric, &series.value)?;
        } else {
            put_value(&mut metric.encode_family(&labels)?, &series.value)?;
        }
    }
    Ok(())
}

fn put_value(metric: &mut MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Count(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
        Value::Level(level) => metric.encode_gauge(level),
        Value::Spread { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}
