//! The Prometheus exporter of [Dialogue](https://docs.rs/dialogue): metrics in the text format of
//! [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/). Applications depend on `dialogue` with the
//! feature `metrics`, which re-exports it.

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
use dialogue_core::metrics::{
    MetricFamily, MetricKind, MetricValue, MetricsEndpoint, MetricsExporter, MetricsReader,
};
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

/// Exports a server's metrics to Prometheus: at an endpoint of the server's router, or in a registry that the
/// application serves itself.
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
    reader: Arc<OnceLock<MetricsReader>>,
}

impl Prometheus {
    /// Serves the metrics at `path` of the server's router, such as `/metrics`. The endpoint needs no authentication,
    /// and shows the names of rooms and events and their load. To keep it private, refuse the path in the proxy in
    /// front, or use [`with_registry`](Self::with_registry) and serve the registry on another port.
    pub fn at(path: impl Into<String>) -> Self {
        Prometheus { path: Some(path.into()), reader: Arc::default() }
    }

    /// Registers the metrics in `registry`, which the application serves with its own. A prefix and labels of the
    /// registry apply to them.
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
    /// let server = Acme::server().metrics(Prometheus::with_registry(&mut registry)).build().await?;
    /// let mut page = String::new();
    /// prometheus_client::encoding::text::encode(&mut page, &registry)?;
    /// assert!(page.contains("dialogue_connections_active 0"));
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_registry(registry: &mut Registry) -> Self {
        let reader: Arc<OnceLock<MetricsReader>> = Arc::default();
        registry.register_collector(Box::new(ServerCollector(Arc::clone(&reader))));
        Prometheus { path: None, reader }
    }
}

impl MetricsExporter for Prometheus {
    fn attach(&self, reader: MetricsReader) {
        // An exporter belongs to one server.
        let _ = self.reader.set(reader);
    }

    fn endpoint(&self) -> Option<MetricsEndpoint> {
        let path = self.path.clone()?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ServerCollector(Arc::clone(&self.reader))));
        let page = Arc::new(MetricsPage { registry, last: Mutex::default() });
        let handler = get(move || {
            let page = Arc::clone(&page);
            async move { respond(page.read().await) }
        });
        Some(MetricsEndpoint { path, handler })
    }
}

/// The response of the endpoint. Requests are unauthenticated and unlimited, so they are coalesced: those that arrive
/// while the page is being encoded share the next one, and pages are encoded at most every [`MIN_INTERVAL`].
struct MetricsPage {
    registry: Registry,
    last: Mutex<Option<EncodedPage>>,
}

/// A page, and the time at which its encoding started; `text` is `None` if encoding failed.
struct EncodedPage {
    started_at: Instant,
    text: Option<Bytes>,
}

/// The minimum time from the encoding of one page to that of the next.
const MIN_INTERVAL: Duration = Duration::from_millis(20);

impl MetricsPage {
    /// Returns a page whose encoding starts after this call.
    async fn read(&self) -> Option<Bytes> {
        let arrived_at = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(page) = &*last {
            // Another request has encoded it since this one arrived.
            if page.started_at > arrived_at {
                return page.text.clone();
            }
            sleep_until(page.started_at + MIN_INTERVAL).await;
        }
        let started_at = Instant::now();
        let mut text = String::new();
        let text = text::encode(&mut text, &self.registry).ok().map(|()| Bytes::from(text));
        *last = Some(EncodedPage { started_at, text: text.clone() });
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

/// The collector that a registry calls on each scrape.
#[derive(Debug)]
struct ServerCollector(Arc<OnceLock<MetricsReader>>);

impl Collector for ServerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = self.0.get().and_then(MetricsReader::read).unwrap_or_default();
        families.iter().try_for_each(|family| encode_family(&mut encoder, family))
    }
}

fn encode_family(encoder: &mut DescriptorEncoder<'_>, family: &MetricFamily) -> fmt::Result {
    let descriptor = family.descriptor;
    let (name, kind) = match descriptor.kind {
        // The encoder appends `_total` to the names of counters.
        MetricKind::Counter => (descriptor.name.trim_end_matches("_total"), MetricType::Counter),
        MetricKind::Gauge => (descriptor.name, MetricType::Gauge),
        MetricKind::Histogram => (descriptor.name, MetricType::Histogram),
    };
    let mut metric = encoder.encode_descriptor(name, descriptor.help, None, kind)?;
    for series in &family.series {
        let labels: Vec<_> = descriptor.labels.iter().copied().zip(series.labels.iter().copied()).collect();
        if labels.is_empty() {
            encode_value(&mut metric, &series.value)?;
        } else {
            encode_value(&mut metric.encode_family(&labels)?, &series.value)?;
        }
    }
    Ok(())
}

fn encode_value(metric: &mut MetricEncoder<'_>, value: &MetricValue) -> fmt::Result {
    match value {
        MetricValue::Counter(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
        MetricValue::Gauge(value) => metric.encode_gauge(value),
        MetricValue::Histogram { sum, buckets } => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use dialogue_core::metrics::{MetricDescriptor, MetricsSource, Series};
    use futures_util::future::join_all;

    use super::*;

    static EVENTS: MetricDescriptor =
        MetricDescriptor::new("events_total", MetricKind::Counter, &["room"], "Accepted events.");
    static LATENCY: MetricDescriptor =
        MetricDescriptor::new("latency_seconds", MetricKind::Histogram, &[], "The time of an event.");

    /// A server with a counter and a histogram.
    struct Measured;

    impl MetricsSource for Measured {
        fn read(&self) -> Vec<MetricFamily> {
            let buckets = vec![(0.1, 2), (f64::INFINITY, 1)];
            vec![
                MetricFamily::new(&EVENTS, vec![Series::new(vec!["chat"], MetricValue::Counter(3))]),
                MetricFamily::new(
                    &LATENCY,
                    vec![Series::new(vec![], MetricValue::Histogram { sum: 1.5, buckets })],
                ),
            ]
        }
    }

    #[test]
    fn a_registry_shows_families_while_their_server_lives() {
        let mut registry = Registry::default();
        let exporter = Prometheus::with_registry(&mut registry);
        let server = Arc::new(Measured);
        exporter.attach(MetricsReader::new(&server));
        let mut page = String::new();
        text::encode(&mut page, &registry).expect("encoded");
        for line in [
            "# TYPE events counter",
            "events_total{room=\"chat\"} 3",
            "latency_seconds_sum 1.5",
            "latency_seconds_bucket{le=\"0.1\"} 2",
            "latency_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is not in {page}");
        }
        drop(server);
        page.clear();
        text::encode(&mut page, &registry).expect("encoded");
        assert_eq!(page, "# EOF\n");
    }

    /// Counts its scrapes.
    #[derive(Debug)]
    struct CountingCollector(Arc<AtomicUsize>);

    impl Collector for CountingCollector {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_scrapes_share_a_page_encoded_after_they_arrived() {
        let arrived_at = Arc::new(AtomicUsize::new(0));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(CountingCollector(Arc::clone(&arrived_at))));
        let page = MetricsPage { registry, last: Mutex::default() };
        page.read().await;
        let scrapes = join_all((0..1_000).map(|_| page.read()));
        assert!(scrapes.await.iter().all(Option::is_some));
        assert_eq!(arrived_at.load(Ordering::Relaxed), 2);
        page.read().await;
        assert_eq!(arrived_at.load(Ordering::Relaxed), 3);
    }
}
