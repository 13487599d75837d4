//! Numbers for StatsD, with the tags of DogStatsD.

use std::{
    error, fmt,
    net::{ToSocketAddrs, UdpSocket},
    sync::Arc,
    time::Duration,
};

use cadence::{BufferedUdpMetricSink, Counted, Distributed, Gauged, MetricError, StatsdClient};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};

use super::{Measured, Metrics, Readings, Series, Value};

/// Sends a server's numbers to a StatsD daemon over UDP, by the names that Prometheus has for them, with labels as tags:
/// Datadog's agent, Telegraf, Vector and others take them.
///
/// What was counted is gathered and sent every 10 s, so that a busy server sends no more than an idle one. Counters go as
/// what was added since, gauges as they are, and times as distributions: each bucket of the histogram as one value in its
/// middle, with the rate that says how many there were. Packets that get lost take their counts with them, as ever over UDP.
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
    /// Until there is something to send.
    sink: Mutex<Option<BufferedUdpMetricSink>>,
    tags: Vec<(String, String)>,
    every: Duration,
    sender: Arc<Mutex<Option<Sender>>>,
}

/// Why nothing can be sent to a StatsD daemon.
#[derive(Debug)]
pub struct StatsDError {
    address: String,
    source: MetricError,
}

/// What sends, and what it has sent before.
#[derive(Debug)]
struct Sender {
    client: StatsdClient,
    readings: Readings,
    before: Vec<Measured>,
}

/// Bytes of a packet, which fits into a frame of Ethernet.
const PACKET: usize = 1_432;
/// How often the daemon's name is looked up again.
const RESOLVED: Duration = Duration::from_secs(60);

impl StatsD {
    /// Sends to the daemon at `address`, such as `127.0.0.1:8125`; a name is looked up again every minute.
    ///
    /// # Errors
    ///
    /// The address is none, or there is no socket to be had.
    pub fn to(address: impl fmt::Display) -> Result<Self, StatsDError> {
        let address = address.to_string();
        let failed = |source| StatsDError { address: address.clone(), source };
        let resolved = address.to_socket_addrs().map_err(|error| failed(error.into()))?.next();
        let any = if resolved.is_some_and(|address| address.is_ipv6()) { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).map_err(|error| failed(error.into()))?;
        // Who sends waits for nobody: what the system can't take is lost.
        socket.set_nonblocking(true).map_err(|error| failed(error.into()))?;
        let sink = BufferedUdpMetricSink::builder().with_capacity(PACKET).with_resolver_period(RESOLVED);
        let sink = sink.build(address.clone(), socket).map_err(failed)?;
        Ok(StatsD {
            sink: Mutex::new(Some(sink)),
            tags: Vec::new(),
            every: Duration::from_secs(10),
            sender: Arc::default(),
        })
    }

    /// Adds a tag to everything that is sent; may be called again for more.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Sends so often: every 10 s by default, which is what daemons gather by; 100 ms at least.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time.max(Duration::from_millis(100));
        self
    }
}

impl Metrics for StatsD {
    fn attach(&self, readings: Readings) {
        // It is given to one server.
        let Some(sink) = self.sink.lock().take() else { return };
        let builder = StatsdClient::builder("", sink);
        let builder = self.tags.iter().fold(builder, |builder, (name, value)| builder.with_tag(name, value));
        *self.sender.lock() = Some(Sender { client: builder.build(), readings, before: Vec::new() });
        tokio::spawn(send_every(self.every, Arc::clone(&self.sender)));
    }

    fn flush(&self) {
        send(&self.sender);
    }
}

/// Sends now and then, until the server is gone.
async fn send_every(time: Duration, sender: Arc<Mutex<Option<Sender>>>) {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sender = Arc::clone(&sender);
        // A name may be looked up, which takes its time.
        let sent = tokio::task::spawn_blocking(move || send(&sender)).await;
        if !matches!(sent, Ok(true)) {
            return;
        }
    }
}

/// Yields whether there will be more to send.
fn send(sender: &Mutex<Option<Sender>>) -> bool {
    sender.lock().as_mut().is_some_and(Sender::send)
}

impl Sender {
    fn send(&mut self) -> bool {
        let Some(measured) = self.readings.read() else { return false };
        for (place, now) in measured.iter().enumerate() {
            let before = self.before.get(place).map(|before| before.series.as_slice()).unwrap_or_default();
            for (place, series) in now.series.iter().enumerate() {
                let labels: Vec<_> =
                    now.family.labels.iter().copied().zip(series.labels.iter().copied()).collect();
                // Series keep their order.
                self.put(now.family.name, &labels, &series.value, before.get(place));
            }
        }
        self.before = measured;
        if let Err(error) = self.client.flush() {
            tracing::debug!(%error, "numbers can't be sent to StatsD now");
        }
        true
    }

    fn put(&self, name: &str, labels: &[(&str, &str)], value: &Value, before: Option<&Series>) {
        let before = before.map(|before| &before.value);
        match value {
            Value::Count(now) => {
                let added = now - before.map_or(0, counted);
                if added > 0 {
                    let metric = self.client.count_with_tags(name, added);
                    labels.iter().fold(metric, |metric, (name, value)| metric.with_tag(name, value)).send();
                }
            }
            Value::Level(level) => {
                let metric = self.client.gauge_with_tags(name, *level);
                labels.iter().fold(metric, |metric, (name, value)| metric.with_tag(name, value)).send();
            }
            Value::Spread { buckets, .. } => {
                let mut from = 0.0;
                for (place, (to, now)) in buckets.iter().enumerate() {
                    let added = now - before.map_or(0, |before| in_bucket(before, place));
                    // Beyond the last bound nobody knows how much.
                    let middle = if to.is_finite() { (from + to) / 2.0 } else { from };
                    if added > 0 {
                        let metric = self.client.distribution_with_tags(name, middle);
                        // Far below 2^53.
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

fn counted(value: &Value) -> u64 {
    match value {
        Value::Count(count) => *count,
        _ => 0,
    }
}

fn in_bucket(value: &Value, place: usize) -> u64 {
    match value {
        Value::Spread { buckets, .. } => buckets.get(place).map_or(0, |(_, count)| *count),
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
