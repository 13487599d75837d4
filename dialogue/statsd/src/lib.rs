//! The StatsD exporter of [Dialogue](https://docs.rs/dialogue), with the tags and distributions of
//! [DogStatsD](https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/). Applications depend on `dialogue` with
//! the feature `statsd`, which re-exports it.

use std::{
    error, fmt,
    net::{ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::Duration,
};

use cadence::{BufferedUdpMetricSink, Counted, Distributed, Gauged, MetricError, StatsdClient};
use dialogue_core::metrics::{
    MetricDescriptor, MetricFamily, MetricValue, MetricsExporter, MetricsReader, Series,
};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

/// Sends a server's metrics to a StatsD daemon over UDP, under the same names as in Prometheus and with labels as tags:
/// Datadog's agent, Telegraf, Vector and others accept them.
///
/// Metrics are sent every 10 s by default, whatever the load. Counters are sent as the increment since the last
/// time, gauges as their value, and durations as distributions: one value per bucket of the histogram, in its middle,
/// with a sampling rate that stands for the number of durations in it. The increments in a lost UDP packet are lost.
///
/// ```no_run
/// use dialogue::observe::StatsD;
///
/// # #[dialogue::event] pub struct Message { pub text: String }
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
///
/// # async fn run() -> dialogue::Result<()> {
/// let statsd = StatsD::to("127.0.0.1:8125")?.tag("service", "acme");
/// let server = Acme::server().metrics(statsd).build().await?;
/// # drop(server);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct StatsD {
    /// The socket, until the server takes it on [`attach`](MetricsExporter::attach).
    sink: Mutex<Option<BufferedUdpMetricSink>>,
    tags: Vec<(String, String)>,
    interval: Duration,
    sender: Arc<Mutex<Option<MetricsSender>>>,
}

/// The error of an address or a socket that can't be used to send to a StatsD daemon.
#[derive(Debug)]
pub struct StatsDError {
    address: String,
    source: MetricError,
}

/// Sends the metrics, and keeps the values that it sent last, by which it computes increments.
#[derive(Debug)]
struct MetricsSender {
    client: StatsdClient,
    reader: MetricsReader,
    before: Vec<MetricFamily>,
}

/// The maximum bytes of a packet, which fits into an Ethernet frame with its headers.
const MAX_PACKET_BYTES: usize = 1_432;
/// The interval at which the daemon's name is resolved again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(60);

impl StatsD {
    /// Returns an exporter that sends to the daemon at `address`, such as `127.0.0.1:8125`. A host name is resolved
    /// again every minute.
    ///
    /// # Errors
    ///
    /// The address can't be parsed or resolved, or no socket can be opened.
    pub fn to(address: impl fmt::Display) -> Result<Self, StatsDError> {
        let address = address.to_string();
        let failed = |source| StatsDError { address: address.clone(), source };
        let resolved = address.to_socket_addrs().map_err(|error| failed(error.into()))?.next();
        let any = if resolved.is_some_and(|address| address.is_ipv6()) { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).map_err(|error| failed(error.into()))?;
        // Sending never blocks: packets that the system can't take are lost.
        socket.set_nonblocking(true).map_err(|error| failed(error.into()))?;
        let sink = BufferedUdpMetricSink::builder()
            .with_capacity(MAX_PACKET_BYTES)
            .with_resolver_period(RESOLVE_INTERVAL);
        let sink = sink.build(address.clone(), socket).map_err(failed)?;
        Ok(StatsD {
            sink: Mutex::new(Some(sink)),
            tags: Vec::new(),
            interval: Duration::from_secs(10),
            sender: Arc::default(),
        })
    }

    /// Adds a tag to all metrics. Each call adds another.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Sets the interval at which metrics are sent: 10 s by default, the usual flush interval of daemons; at least 100
    /// ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }
}

impl MetricsExporter for StatsD {
    fn attach(&self, reader: MetricsReader) {
        // An exporter belongs to one server.
        let Some(sink) = self.sink.lock().take() else { return };
        let builder = StatsdClient::builder("", sink);
        let builder = self.tags.iter().fold(builder, |builder, (name, value)| builder.with_tag(name, value));
        *self.sender.lock() = Some(MetricsSender { client: builder.build(), reader, before: Vec::new() });
        tokio::spawn(send_at_interval(self.interval, Arc::clone(&self.sender)));
    }

    fn flush(&self) {
        send(&self.sender);
    }
}

/// Sends at each interval, until the server is dropped.
async fn send_at_interval(time: Duration, sender: Arc<Mutex<Option<MetricsSender>>>) {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sender = Arc::clone(&sender);
        // The call may resolve a name, which blocks.
        let sent = tokio::task::spawn_blocking(move || send(&sender)).await;
        if !matches!(sent, Ok(true)) {
            return;
        }
    }
}

/// Sends the metrics, and returns `false` once the server is dropped.
fn send(sender: &Mutex<Option<MetricsSender>>) -> bool {
    sender.lock().as_mut().is_some_and(MetricsSender::send)
}

impl MetricsSender {
    fn send(&mut self) -> bool {
        let Some(families) = self.reader.read() else { return false };
        for (index, family) in families.iter().enumerate() {
            // Families and series keep their order from one read to the next.
            let before = self.before.get(index).map(|before| before.series.as_slice()).unwrap_or_default();
            let MetricDescriptor { name, labels, .. } = family.descriptor;
            for (index, series) in family.series.iter().enumerate() {
                let labels: Vec<_> = labels.iter().copied().zip(series.labels.iter().copied()).collect();
                self.put(name, &labels, &series.value, before.get(index));
            }
        }
        self.before = families;
        if let Err(error) = self.client.flush() {
            tracing::debug!(%error, "can't send metrics to StatsD");
        }
        true
    }

    fn put(&self, name: &str, labels: &[(&str, &str)], value: &MetricValue, before: Option<&Series>) {
        let before = before.map(|before| &before.value);
        match value {
            MetricValue::Counter(now) => {
                let added = now - before.map_or(0, counter_value);
                if added > 0 {
                    let metric = self.client.count_with_tags(name, added);
                    labels.iter().fold(metric, |metric, (name, value)| metric.with_tag(name, value)).send();
                }
            }
            MetricValue::Gauge(value) => {
                let metric = self.client.gauge_with_tags(name, *value);
                labels.iter().fold(metric, |metric, (name, value)| metric.with_tag(name, value)).send();
            }
            MetricValue::Histogram { buckets, .. } => {
                let mut from = 0.0;
                for (index, (to, now)) in buckets.iter().enumerate() {
                    let added = now - before.map_or(0, |before| bucket_count(before, index));
                    // The last bucket has no upper bound.
                    let middle = if to.is_finite() { (from + to) / 2.0 } else { from };
                    if added > 0 {
                        let metric = self.client.distribution_with_tags(name, middle);
                        // Exact: far below 2^53.
                        let metric = metric.with_sampling_rate(1.0 / added as f64);
                        labels
                            .iter()
                            .fold(metric, |metric, (name, value)| metric.with_tag(name, value))
                            .send();
                    }
                    from = *to;
                }
            }
        }
    }
}

fn counter_value(value: &MetricValue) -> u64 {
    match value {
        MetricValue::Counter(count) => *count,
        _ => 0,
    }
}

fn bucket_count(value: &MetricValue, index: usize) -> u64 {
    match value {
        MetricValue::Histogram { buckets, .. } => buckets.get(index).map_or(0, |(_, count)| *count),
        _ => 0,
    }
}

impl fmt::Display for StatsDError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't send to StatsD at {}: {}", self.address, self.source)
    }
}

impl error::Error for StatsDError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Lets a program's `main` return one error type.
impl From<StatsDError> for dialogue_core::Error {
    fn from(error: StatsDError) -> Self {
        dialogue_core::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use dialogue_core::metrics::{MetricKind, MetricsSource};

    use super::*;

    static EVENTS: MetricDescriptor =
        MetricDescriptor::new("events_total", MetricKind::Counter, &["room"], "Accepted events.");
    static LATENCY: MetricDescriptor =
        MetricDescriptor::new("latency_seconds", MetricKind::Histogram, &[], "The time of an event.");

    /// A server that has accepted this number of events, each in less than 0.2 s.
    struct Measured(AtomicU64);

    impl MetricsSource for Measured {
        fn read(&self) -> Vec<MetricFamily> {
            let count = self.0.load(Ordering::Relaxed);
            let spread = MetricValue::Histogram { sum: 0.0, buckets: vec![(0.2, count)] };
            vec![
                MetricFamily::new(&EVENTS, vec![Series::new(vec!["chat"], MetricValue::Counter(count))]),
                MetricFamily::new(&LATENCY, vec![Series::new(vec![], spread)]),
            ]
        }
    }

    fn packet(daemon: &UdpSocket) -> String {
        let mut packet = [0; MAX_PACKET_BYTES];
        let length = daemon.recv(&mut packet).expect("a packet");
        String::from_utf8_lossy(&packet[..length]).trim_end().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_added_since_the_last_time_is_sent() {
        let daemon = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        daemon.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let statsd =
            StatsD::to(daemon.local_addr().expect("bound")).expect("a socket").tag("service", "acme");
        let server = Arc::new(Measured(AtomicU64::new(2)));
        statsd.attach(MetricsReader::new(&server));
        statsd.flush();
        let sent = "events_total:2|c|#service:acme,room:chat\nlatency_seconds:0.1|d|@0.5|#service:acme";
        assert_eq!(packet(&daemon), sent);
        server.0.store(3, Ordering::Relaxed);
        statsd.flush();
        let sent = "events_total:1|c|#service:acme,room:chat\nlatency_seconds:0.1|d|@1|#service:acme";
        assert_eq!(packet(&daemon), sent);
    }
}
