//! The metrics of a server, as exporters read them.
#![cfg(all(feature = "server", feature = "statsd"))]

use std::{collections::BTreeMap, net::UdpSocket, sync::mpsc, thread, time::Duration};

use dialogue::{
    Code,
    observe::{MetricFamily, MetricKind, MetricValue, MetricsExporter, MetricsReader, StatsD},
};

/// Said by somebody.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// What.
    #[validate(length(min = 1))]
    pub text: String,
}

/// Somebody is at the keyboard.
#[dialogue::event(ephemeral)]
#[derive(Debug)]
pub struct Typing {
    /// Whether.
    pub active: bool,
}

dialogue::rooms! {
    struct Acme;
    chat: [Message, Typing] via [websocket, sse];
    project(u64): [Message] via [websocket];
}

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// An exporter that keeps its reader for the test.
#[derive(Clone, Default)]
struct Seen(std::sync::Arc<std::sync::OnceLock<MetricsReader>>);

impl MetricsExporter for Seen {
    fn attach(&self, reader: MetricsReader) {
        self.0.set(reader).expect("it is attached once");
    }
}

impl Seen {
    fn all(&self) -> Vec<MetricFamily> {
        self.0.get().and_then(MetricsReader::read).expect("the server lives")
    }

    fn value(&self, name: &str, labels: &[&str]) -> MetricValue {
        let measured =
            self.all().into_iter().find(|measured| measured.descriptor.name == name).expect("a family");
        let series = measured.series.into_iter().find(|series| series.labels == labels);
        series.unwrap_or_else(|| panic!("{name}{labels:?}")).value
    }
}

fn message(text: &str) -> Message {
    Message { text: text.into() }
}

#[tokio::test]
async fn an_own_sink_reads_what_happened() -> Result {
    let seen = Seen::default();
    let server = Acme::server().metrics(seen.clone()).build().await?;
    for key in [1, 2] {
        server.project(key).trigger(message("hi")).await?;
    }
    let refused = server.project(1).trigger(message("")).await;
    assert_eq!(refused.map_err(|refusal| refusal.code), Err(Code::ValidationFailed));
    assert_eq!(seen.value("dialogue_events_total", &["project", "message"]), MetricValue::Counter(2));
    assert_eq!(
        seen.value("dialogue_triggers_total", &["project", "server", "invalid"]),
        MetricValue::Counter(1)
    );
    assert_eq!(seen.value("dialogue_rooms_instances", &["project"]), MetricValue::Gauge(2.0));
    let MetricValue::Histogram { sum, buckets } =
        seen.value("dialogue_events_latency_seconds", &["project", "message"])
    else {
        panic!("a spread")
    };
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 2);
    assert!(sum > 0.0);
    Ok(())
}

#[tokio::test]
async fn readings_end_with_the_server() -> Result {
    let seen = Seen::default();
    let server = Acme::server().metrics(seen.clone()).build().await?;
    drop(server);
    // What the server started ends at its next turn.
    while seen.0.get().and_then(MetricsReader::read).is_some() {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The bound that the documentation prints.
#[tokio::test]
async fn there_are_as_many_series_as_is_said() -> Result {
    let seen = Seen::default();
    let shared = Acme::server().backplane(dialogue::backplane::Local::new()).metrics(seen.clone());
    let _server = shared.build().await?;
    let measured = seen.all();
    let of = |kind: MetricKind| {
        measured.iter().filter(|one| one.descriptor.kind == kind).map(|one| one.series.len()).sum::<usize>()
    };
    let (rooms, events) = (2, 3);
    assert_eq!(of(MetricKind::Histogram), events + 15);
    assert_eq!(of(MetricKind::Counter) + of(MetricKind::Gauge), 32 * rooms + events + 95);
    Ok(())
}

/// Adds up what came of each number: counts, and what distributions say that they stand for.
fn add(packet: &str, sums: &mut BTreeMap<String, f64>) {
    for line in packet.lines() {
        let (name, rest) = line.split_once(':').expect("a name");
        let parts: Vec<_> = rest.split('|').collect();
        let (value, kind) = (parts[0].parse::<f64>().expect("a number"), parts[1]);
        let rate =
            parts.iter().find_map(|part| part.strip_prefix('@')).map_or(1.0, |rate| rate.parse().unwrap());
        let tags = parts.iter().find_map(|part| part.strip_prefix('#')).unwrap_or_default();
        let sum = sums.entry(format!("{name}|{kind}|{tags}")).or_default();
        match kind {
            "c" => *sum += value,
            "d" => *sum += 1.0 / rate,
            _ => *sum = value,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statsd_gets_what_was_counted_once() -> Result {
    const SENT: usize = 250;
    let daemon = UdpSocket::bind("127.0.0.1:0")?;
    let statsd =
        StatsD::to(daemon.local_addr()?)?.tag("service", "acme").interval(Duration::from_millis(200));
    // Read from the beginning: what a socket has no space for is lost. It ends with the process.
    let (sender, packets) = mpsc::channel();
    thread::spawn(move || {
        let mut packet = [0; 2_048];
        while let Ok(length) = daemon.recv(&mut packet)
            && sender.send(packet[..length].to_vec()).is_ok()
        {}
    });
    let server = Acme::server().metrics(statsd).build().await?;
    for _ in 0..SENT {
        server.chat().trigger(message("hi")).await?;
    }
    // Whatever is still to be sent is sent when the server has drained.
    server.drain().await;
    let (events, latency) = (
        "dialogue_events_total|c|service:acme,room:chat,event:message",
        "dialogue_events_latency_seconds|d|service:acme,room:chat,event:message",
    );
    let mut sums = BTreeMap::new();
    while sums.get("dialogue_draining|g|service:acme") != Some(&1.0)
        || sums.get(events).is_none_or(|sum| *sum < 250.0)
        || sums.get(latency).is_none_or(|sum| *sum < 249.9)
    {
        let packet = packets.recv_timeout(Duration::from_secs(60))?;
        assert!(packet.len() <= 1_432, "{} bytes in a packet", packet.len());
        add(std::str::from_utf8(&packet)?, &mut sums);
    }
    assert_eq!(sums[events], 250.0);
    assert!((sums[latency] - 250.0).abs() < 1e-6, "{}", sums[latency]);
    assert_eq!(sums["dialogue_rooms_size|g|service:acme,room:chat"], 0.0);
    assert!(!sums.keys().any(|name| name.contains("hi")));
    Ok(())
}
