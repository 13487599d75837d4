//! Numbers for Prometheus, in the text format of OpenMetrics.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
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
        let page = Arc::new(Page { registry, last: Mutex::default() });
        let handler = get(move || {
            let page = Arc::clone(&page);
            async move { respond(page.read().await) }
        });
        Some(Endpoint { path, handler })
    }
}

/// The page of numbers. Whoever reaches the server may ask for it, as often as they like: those who ask while it is
/// made share the next one, and pages are made [`APART`].
struct Page {
    registry: Registry,
    last: Mutex<Option<Made>>,
}

/// The page as it was at a time; `None` if the numbers can't be written.
struct Made {
    begun: Instant,
    text: Option<Bytes>,
}

/// Time from one page to the next.
const APART: Duration = Duration::from_millis(20);

impl Page {
    /// The page, as it is now or later.
    async fn read(&self) -> Option<Bytes> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(made) = &*last {
            // Another request had it made since this one came.
            if made.begun > asked {
                return made.text.clone();
            }
            sleep_until(made.begun + APART).await;
        }
        let begun = Instant::now();
        let mut text = String::new();
        let text = text::encode(&mut text, &self.registry).ok().map(|()| Bytes::from(text));
        *last = Some(Made { begun, text: text.clone() });
        text
    }
}

fn respond(page: Option<Bytes>) -> Response {
    const TEXT: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    match page {
        Some(text) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// Counts how often the numbers are asked for.
    #[derive(Debug)]
    struct Asked(Arc<AtomicUsize>);

    impl Collector for Asked {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_asks_at_once_shares_a_page_made_after_it_came() {
        let asked = Arc::new(AtomicUsize::new(0));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Asked(Arc::clone(&asked))));
        let page = Page { registry, last: Mutex::default() };
        page.read().await;
        let crowd = join_all((0..1_000).map(|_| page.read()));
        assert!(crowd.await.iter().all(Option::is_some));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        page.read().await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
