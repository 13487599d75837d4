//! The metrics of one server: the registry that everything else in the crate reports to, and that exporters read. The
//! names and help texts are in [`descriptor`].

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    Meter, MetricDescriptor, MetricFamily, MetricValue, MetricsSource, Series, descriptor,
    instrument::{Counter, Gauge, Histogram},
    labels::{BackplaneCall, CloseReason, Source, StoreCall, element_for},
    meter::RoomMetrics,
    refusal_counters::RefusalCounters,
};
use crate::Code;

/// The metrics of one server. Rooms report through a [`Meter`] each, and the amounts that other parts keep are read
/// through a sampler when an exporter reads.
#[derive(Default)]
pub(crate) struct ServerMetrics {
    rooms: Vec<Arc<RoomMetrics>>,
    connections: Counter,
    active: [Gauge; Source::CONNECTIONS.len()],
    closed: [[Counter; CloseReason::ALL.len()]; Source::CONNECTIONS.len()],
    refusals: Arc<RefusalCounters>,
    store: [CallMetrics; StoreCall::ALL.len()],
    backplane: [CallMetrics; BackplaneCall::ALL.len()],
    sampler: OnceLock<Box<Sampler>>,
}

#[derive(Debug, Default)]
struct CallMetrics {
    elapsed: Histogram,
    errors: Counter,
}

/// Reads the current amounts from the parts that keep them; `None` once the server is dropped.
type Sampler = dyn Fn() -> Option<Sample> + Send + Sync;

/// Amounts that other parts of the server keep, read when an exporter reads.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Bytes queued in outboxes.
    pub(crate) outbox_bytes: usize,
    pub(crate) is_draining: bool,
    pub(crate) store: Option<StoreSample>,
    /// The number of nodes that share the rooms; `None` without a backplane.
    pub(crate) nodes: Option<usize>,
    /// For each push provider, the number of pushes of each outcome.
    pub(crate) pushes: Vec<(&'static str, Vec<(&'static str, u64)>)>,
}

/// The state of the store and of the queue in front of it.
#[derive(Debug)]
pub(crate) struct StoreSample {
    pub(crate) is_up: bool,
    pub(crate) queued_bytes: usize,
    pub(crate) queued_rooms: usize,
}

impl ServerMetrics {
    /// Adds the metrics of a room that carries `events`, in their order, and returns the meter that reports to them.
    pub(crate) fn room(&mut self, name: &'static str, events: impl Iterator<Item = &'static str>) -> Meter {
        let meter = Meter::new(name, events, Arc::clone(&self.refusals));
        self.rooms.extend(meter.metrics().cloned());
        meter
    }

    /// Sets the function that reads the amounts which other parts keep. Further calls do nothing: a server has one
    /// engine.
    pub(crate) fn set_sampler(&self, sampler: impl Fn() -> Option<Sample> + Send + Sync + 'static) {
        let _ = self.sampler.set(Box::new(sampler));
    }

    pub(super) fn connected(&self, source: Source) {
        self.connections.add(1);
        element_for(&Source::CONNECTIONS, source, &self.active).iter().for_each(|active| active.add(1));
    }

    pub(super) fn disconnected(&self, source: Source, reason: CloseReason) {
        element_for(&Source::CONNECTIONS, source, &self.active).iter().for_each(|active| active.add(-1));
        let closed = element_for(&Source::CONNECTIONS, source, &self.closed);
        closed
            .and_then(|closed| element_for(&CloseReason::ALL, reason, closed))
            .iter()
            .for_each(|closed| closed.add(1));
    }

    /// Counts a request that was refused with `code`.
    pub(crate) fn refused(&self, source: Source, code: Code) {
        self.refusals.count(source, code);
    }

    /// Records a call to the store.
    pub(super) fn store_called(&self, operation: StoreCall, elapsed: Duration, failed: bool) {
        if let Some(call) = element_for(&StoreCall::ALL, operation, &self.store) {
            call.record(elapsed, failed);
        }
    }

    /// Records a call to the backplane.
    pub(super) fn backplane_called(&self, operation: BackplaneCall, elapsed: Duration, failed: bool) {
        if let Some(call) = element_for(&BackplaneCall::ALL, operation, &self.backplane) {
            call.record(elapsed, failed);
        }
    }

    fn connection_families(&self) -> Vec<MetricFamily> {
        let active = || Source::CONNECTIONS.iter().zip(&self.active);
        let all = active().map(|(_, active)| active.read()).fold(0.0, |all, active| match active {
            MetricValue::Gauge(value) => all + value,
            _ => all,
        });
        let closed = Source::CONNECTIONS.iter().zip(&self.closed).flat_map(|(source, closed)| {
            let ends = CloseReason::ALL.iter().zip(closed);
            ends.map(|(reason, closed)| series(vec![source.label(), reason.label()], closed.read()))
        });
        vec![
            single(&descriptor::CONNECTIONS, self.connections.read()),
            single(&descriptor::ACTIVE, MetricValue::Gauge(all)),
            family(
                &descriptor::ACTIVE_BY_CHANNEL,
                active().map(|(source, active)| series(vec![source.label()], active.read())),
            ),
            family(&descriptor::CLOSED, closed),
            family(&descriptor::REFUSALS, self.refusals.series()),
        ]
    }

    fn room_families(&self) -> [MetricFamily; 9] {
        let rooms = || self.rooms.iter();
        [
            family(&descriptor::EVENTS, rooms().flat_map(|room| room.events())),
            family(&descriptor::LATENCY, rooms().flat_map(|room| room.latencies())),
            family(&descriptor::TRIGGERS, rooms().flat_map(|room| room.triggers())),
            family(&descriptor::DELIVERIES, rooms().flat_map(|room| room.deliveries())),
            family(&descriptor::SKIPPED, rooms().flat_map(|room| room.skips())),
            family(&descriptor::BACKFILLS, rooms().flat_map(|room| room.backfills())),
            family(&descriptor::RESUMES, rooms().flat_map(|room| room.resumes())),
            family(&descriptor::SIZE, rooms().flat_map(|room| room.size())),
            family(&descriptor::INSTANCES, rooms().flat_map(|room| room.instances())),
        ]
    }

    fn backplane_families(&self, sample: &Sample) -> [MetricFamily; 3] {
        let calls = || BackplaneCall::ALL.iter().zip(&self.backplane).filter(|_| sample.nodes.is_some());
        [
            family(&descriptor::NODES, sample.nodes.iter().map(|nodes| series(vec![], gauge_value(*nodes)))),
            family(
                &descriptor::BACKPLANE_SECONDS,
                calls().map(|(operation, call)| series(vec![operation.label()], call.elapsed.read())),
            ),
            family(
                &descriptor::BACKPLANE_ERRORS,
                calls().map(|(operation, call)| series(vec![operation.label()], call.errors.read())),
            ),
        ]
    }

    fn store_families(&self, sample: &Sample) -> [MetricFamily; 5] {
        let store = || sample.store.iter();
        let calls = || StoreCall::ALL.iter().zip(&self.store).filter(|_| sample.store.is_some());
        [
            family(
                &descriptor::STORE_UP,
                store().map(|store| series(vec![], gauge_value(usize::from(store.is_up)))),
            ),
            family(
                &descriptor::STORE_SECONDS,
                calls().map(|(operation, call)| series(vec![operation.label()], call.elapsed.read())),
            ),
            family(
                &descriptor::STORE_ERRORS,
                calls().map(|(operation, call)| series(vec![operation.label()], call.errors.read())),
            ),
            family(
                &descriptor::STORE_WAITING_BYTES,
                store().map(|store| series(vec![], gauge_value(store.queued_bytes))),
            ),
            family(
                &descriptor::STORE_WAITING_ROOMS,
                store().map(|store| series(vec![], gauge_value(store.queued_rooms))),
            ),
        ]
    }
}

impl CallMetrics {
    fn record(&self, elapsed: Duration, failed: bool) {
        self.elapsed.observe(elapsed);
        self.errors.add(u64::from(failed));
    }
}

impl MetricsSource for ServerMetrics {
    /// Returns all families, always in the same order.
    fn read(&self) -> Vec<MetricFamily> {
        let sample = self.sampler.get().and_then(|sampler| sampler()).unwrap_or_default();
        let mut families = self.connection_families();
        families.extend(self.room_families());
        families.extend(self.store_families(&sample));
        families.extend(self.backplane_families(&sample));
        families.extend(other_families(&sample));
        families
    }
}

fn other_families(sample: &Sample) -> [MetricFamily; 3] {
    let pushes = sample.pushes.iter().flat_map(|(provider, counts)| {
        counts.iter().map(|(outcome, count)| series(vec![*provider, *outcome], MetricValue::Counter(*count)))
    });
    [
        family(&descriptor::PUSHES, pushes),
        single(&descriptor::WAITING, gauge_value(sample.outbox_bytes)),
        single(&descriptor::DRAINING, gauge_value(usize::from(sample.is_draining))),
    ]
}

fn family(descriptor: &'static MetricDescriptor, series: impl Iterator<Item = Series>) -> MetricFamily {
    MetricFamily::new(descriptor, series.collect())
}

/// Returns a family without labels, which has one series.
fn single(descriptor: &'static MetricDescriptor, value: MetricValue) -> MetricFamily {
    MetricFamily::new(descriptor, vec![series(vec![], value)])
}

fn series(labels: Vec<&'static str>, value: MetricValue) -> Series {
    Series::new(labels, value)
}

fn gauge_value(size: usize) -> MetricValue {
    // Exact: sizes are far below 2^53.
    MetricValue::Gauge(size as f64)
}

impl fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerMetrics").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::MetricKind;

    const DASHBOARD: &str = include_str!("../docs/grafana.json");
    const ALERTS: &str = include_str!("../docs/alerts.yaml");

    fn families() -> Vec<&'static MetricDescriptor> {
        ServerMetrics::default().read().into_iter().map(|measured| measured.descriptor).collect()
    }

    /// Returns the names of a family's series in Prometheus.
    fn series_names(family: &MetricDescriptor) -> Vec<String> {
        match family.kind {
            MetricKind::Histogram => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)).into()
            }
            MetricKind::Counter | MetricKind::Gauge => vec![family.name.to_owned()],
        }
    }

    /// Returns the words of a text that start with `begin`.
    fn words<'a>(text: &'a str, begin: &'static str) -> impl Iterator<Item = &'a str> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(move |c| !is_of_name(c)).filter(move |word| word.starts_with(begin))
    }

    #[test]
    fn the_documentation_lists_every_family() {
        let docs = include_str!("../docs/metrics.md");
        for MetricDescriptor { name, help, kind, labels, .. } in families() {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let row = format!("| `{name}` | {} | {labels} | {help} |", format!("{kind:?}").to_lowercase());
            assert!(docs.contains(&row), "{row}");
        }
        assert_eq!(docs.matches("\n| `dialogue_").count(), families().len());
    }

    #[test]
    fn dashboard_and_alerts_query_existing_families() {
        let there: Vec<_> = families().into_iter().flat_map(series_names).collect();
        for name in [DASHBOARD, ALERTS].into_iter().flat_map(|text| words(text, "dialogue_")) {
            assert!(there.iter().any(|line| line == name), "{name}");
        }
        let shown: Vec<_> = words(DASHBOARD, "dialogue_").collect();
        for family in families() {
            assert!(
                series_names(family).iter().any(|line| shown.contains(&&**line)),
                "no panel shows {}",
                family.name
            );
        }
    }

    /// Returns the labels by which a query selects and aggregates.
    fn labels_in(query: &str) -> Vec<String> {
        let chosen = query.split('{').skip(1).filter_map(|part| part.split('}').next());
        let chosen = chosen.flat_map(|part| part.split(',')).filter_map(|one| one.split(['=', '!']).next());
        let summed = query.split("by (").skip(1).filter_map(|part| part.split(')').next());
        let summed = summed.flat_map(|part| part.split(','));
        chosen.chain(summed).map(|label| label.trim().to_owned()).collect()
    }

    #[test]
    fn dashboard_and_alerts_query_existing_labels() {
        let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels").iter();
        let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
        let asked = targets.filter_map(|target| target["expr"].as_str());
        let alerts = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
        let queries: Vec<_> = asked.chain(alerts).collect();
        assert!(queries.len() > 40, "{}", queries.len());
        for query in queries {
            let of_query: Vec<_> = families()
                .into_iter()
                .filter(|family| query.contains(family.name))
                .flat_map(|family| family.labels)
                .collect();
            for label in labels_in(query) {
                // Prometheus adds `instance` and `job` to each series; `le` is the bound of a bucket.
                let given = ["instance", "job", "le"].contains(&&*label);
                assert!(given || of_query.contains(&&&*label), "{label} in {query}");
            }
        }
    }
}
