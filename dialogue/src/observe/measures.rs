//! All that is measured of a server.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{
    Ended, Family, Measured, Meter, Series, Source, Value, family,
    instrument::{Counter, Gauge, Histogram},
    meter::RoomMeasures,
};
use crate::Code;

/// See the [module](self). What is measured of rooms, their own [`Meter`]s measure.
#[derive(Default)]
pub(crate) struct Measures {
    rooms: Vec<Arc<RoomMeasures>>,
    connections: Counter,
    active: [Gauge; Source::CONNECTIONS.len()],
    closed: [[Counter; Ended::ALL.len()]; Source::CONNECTIONS.len()],
    refusals: Arc<Refusals>,
    store: [Call; Operation::ALL.len()],
    backplane: [Call; BackplaneCall::ALL.len()],
    probe: OnceLock<Box<Probe>>,
}

/// What became of somebody's try to put an event into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted,
    Duplicate,
    Blocked,
    Limited,
    Invalid,
    Denied,
    Unavailable,
    Failed,
}

/// How often somebody was answered with an error.
#[derive(Debug, Default)]
pub(super) struct Refusals([[Counter; CODES.len()]; Source::REQUESTS.len()]);

/// A call of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Append,
    Head,
    Read,
    Keys,
    Trim,
    Remove,
    Put,
    Get,
    Scan,
}

/// A call of the backplane, beside those of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackplaneCall {
    Publish,
    Send,
    Heads,
    UpdateMembers,
    Members,
    CompareAndSwap,
}

#[derive(Debug, Default)]
struct Call {
    took: Histogram,
    errors: Counter,
}

/// What is looked up when somebody reads, since others keep it; `None` once the server is gone.
type Probe = dyn Fn() -> Option<Probed> + Send + Sync;

/// See [`Probe`].
#[derive(Debug, Default)]
pub(crate) struct Probed {
    /// Bytes that wait for connections.
    pub(crate) waiting: usize,
    pub(crate) draining: bool,
    pub(crate) store: Option<StoreProbed>,
    /// How many instances share the rooms, if they are shared.
    pub(crate) peers: Option<usize>,
    /// For each provider, what became of pushes.
    pub(crate) pushes: Vec<(&'static str, Vec<(&'static str, u64)>)>,
}

/// How the store is, and what waits for it.
#[derive(Debug)]
pub(crate) struct StoreProbed {
    pub(crate) up: bool,
    pub(crate) bytes: usize,
    pub(crate) rooms: usize,
}

const CODES: [Code; 16] = [
    Code::InvalidRequest,
    Code::Unauthenticated,
    Code::PermissionDenied,
    Code::JoinDenied,
    Code::NotInRoom,
    Code::RoomNotFound,
    Code::RoomExists,
    Code::RoomFull,
    Code::EventNotAllowed,
    Code::ValidationFailed,
    Code::Blocked,
    Code::TooMany,
    Code::RateLimited,
    Code::TooLarge,
    Code::Unavailable,
    Code::Internal,
];

fn code_label(code: Code) -> &'static str {
    match code {
        Code::InvalidRequest => "INVALID_REQUEST",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::JoinDenied => "JOIN_DENIED",
        Code::NotInRoom => "NOT_IN_ROOM",
        Code::RoomNotFound => "ROOM_NOT_FOUND",
        Code::RoomExists => "ROOM_EXISTS",
        Code::RoomFull => "ROOM_FULL",
        Code::EventNotAllowed => "EVENT_NOT_ALLOWED",
        Code::ValidationFailed => "VALIDATION_FAILED",
        Code::Blocked => "BLOCKED",
        Code::TooMany => "TOO_MANY",
        Code::RateLimited => "RATE_LIMITED",
        Code::TooLarge => "TOO_LARGE",
        Code::Unavailable => "UNAVAILABLE",
        Code::Internal | Code::Unknown => "INTERNAL",
    }
}

impl Outcome {
    pub(super) const ALL: [Outcome; 8] = [
        Outcome::Accepted,
        Outcome::Duplicate,
        Outcome::Blocked,
        Outcome::Limited,
        Outcome::Invalid,
        Outcome::Denied,
        Outcome::Unavailable,
        Outcome::Failed,
    ];

    pub(super) fn of(code: Code) -> Self {
        match code {
            Code::Blocked => Outcome::Blocked,
            Code::RateLimited => Outcome::Limited,
            Code::InvalidRequest | Code::ValidationFailed | Code::TooLarge => Outcome::Invalid,
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::JoinDenied
            | Code::NotInRoom
            | Code::EventNotAllowed => Outcome::Denied,
            Code::Unavailable => Outcome::Unavailable,
            _ => Outcome::Failed,
        }
    }

    pub(super) fn place(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or(Self::ALL.len())
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Duplicate => "duplicate",
            Outcome::Blocked => "blocked",
            Outcome::Limited => "limited",
            Outcome::Invalid => "invalid",
            Outcome::Denied => "denied",
            Outcome::Unavailable => "unavailable",
            Outcome::Failed => "failed",
        }
    }
}

impl Operation {
    pub(super) const ALL: [Operation; 9] = [
        Operation::Append,
        Operation::Head,
        Operation::Read,
        Operation::Keys,
        Operation::Trim,
        Operation::Remove,
        Operation::Put,
        Operation::Get,
        Operation::Scan,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Operation::Append => "append",
            Operation::Head => "head",
            Operation::Read => "read",
            Operation::Keys => "keys",
            Operation::Trim => "trim",
            Operation::Remove => "remove",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Scan => "scan",
        }
    }
}

impl BackplaneCall {
    pub(super) const ALL: [BackplaneCall; 6] = [
        BackplaneCall::Publish,
        BackplaneCall::Send,
        BackplaneCall::Heads,
        BackplaneCall::UpdateMembers,
        BackplaneCall::Members,
        BackplaneCall::CompareAndSwap,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            BackplaneCall::Publish => "publish",
            BackplaneCall::Send => "send",
            BackplaneCall::Heads => "heads",
            BackplaneCall::UpdateMembers => "update_members",
            BackplaneCall::Members => "members",
            BackplaneCall::CompareAndSwap => "compare_and_swap",
        }
    }
}

impl Refusals {
    pub(super) fn count(&self, source: Source, code: Code) {
        let codes = place(&Source::REQUESTS, source, &self.0);
        codes.and_then(|codes| place(&CODES, code, codes)).iter().for_each(|refused| refused.add(1));
    }
}

impl Measures {
    /// Measures a room that carries `events`, in their order.
    pub(crate) fn room(&mut self, name: &'static str, events: impl Iterator<Item = &'static str>) -> Meter {
        let meter = Meter::new(name, events, Arc::clone(&self.refusals));
        self.rooms.extend(meter.measures().cloned());
        meter
    }

    /// From now on, `probe` is asked too.
    pub(crate) fn ask(&self, probe: impl Fn() -> Option<Probed> + Send + Sync + 'static) {
        // A server has one engine, which is made once.
        let _ = self.probe.set(Box::new(probe));
    }

    pub(super) fn connected(&self, source: Source) {
        self.connections.add(1);
        place(&Source::CONNECTIONS, source, &self.active).iter().for_each(|active| active.add(1));
    }

    pub(super) fn disconnected(&self, source: Source, ended: Ended) {
        place(&Source::CONNECTIONS, source, &self.active).iter().for_each(|active| active.add(-1));
        let closed = place(&Source::CONNECTIONS, source, &self.closed);
        closed.and_then(|closed| place(&Ended::ALL, ended, closed)).iter().for_each(|closed| closed.add(1));
    }

    /// Somebody was answered with an error.
    pub(crate) fn refused(&self, source: Source, code: Code) {
        self.refusals.count(source, code);
    }

    /// A call of the store ended.
    pub(super) fn called(&self, operation: Operation, took: Duration, failed: bool) {
        if let Some(call) = place(&Operation::ALL, operation, &self.store) {
            call.ended(took, failed);
        }
    }

    /// A call of the backplane ended.
    pub(super) fn backplane_called(&self, operation: BackplaneCall, took: Duration, failed: bool) {
        if let Some(call) = place(&BackplaneCall::ALL, operation, &self.backplane) {
            call.ended(took, failed);
        }
    }

    pub(crate) fn read(&self) -> Vec<Measured> {
        let probed = self.probe.get().and_then(|probe| probe()).unwrap_or_default();
        let mut measured = self.of_connections();
        measured.extend(self.of_rooms());
        measured.extend(self.of_store(&probed));
        measured.extend(self.of_backplane(&probed));
        measured.extend(of_others(&probed));
        measured
    }

    fn of_connections(&self) -> Vec<Measured> {
        let active = || Source::CONNECTIONS.iter().zip(&self.active);
        let all = active().map(|(_, active)| active.read()).fold(0.0, |all, active| match active {
            Value::Level(level) => all + level,
            _ => all,
        });
        let closed = Source::CONNECTIONS.iter().zip(&self.closed).flat_map(|(source, closed)| {
            let ends = Ended::ALL.iter().zip(closed);
            ends.map(|(ended, closed)| series(vec![source.label(), ended.label()], closed.read()))
        });
        let refusals = Source::REQUESTS.iter().zip(&self.refusals.0).flat_map(|(source, codes)| {
            let codes = CODES.iter().zip(codes);
            codes.map(|(code, refused)| series(vec![source.label(), code_label(*code)], refused.read()))
        });
        vec![
            family::CONNECTIONS.is(self.connections.read()),
            family::ACTIVE.is(Value::Level(all)),
            family::ACTIVE_BY_CHANNEL
                .of(active().map(|(source, active)| series(vec![source.label()], active.read()))),
            family::CLOSED.of(closed),
            family::REFUSALS.of(refusals),
        ]
    }

    fn of_rooms(&self) -> [Measured; 9] {
        let rooms = || self.rooms.iter();
        [
            family::EVENTS.of(rooms().flat_map(|room| room.events())),
            family::LATENCY.of(rooms().flat_map(|room| room.latencies())),
            family::TRIGGERS.of(rooms().flat_map(|room| room.triggers())),
            family::DELIVERIES.of(rooms().flat_map(|room| room.deliveries())),
            family::SKIPPED.of(rooms().flat_map(|room| room.skips())),
            family::BACKFILLS.of(rooms().flat_map(|room| room.backfills())),
            family::RESUMES.of(rooms().flat_map(|room| room.resumes())),
            family::SIZE.of(rooms().flat_map(|room| room.size())),
            family::INSTANCES.of(rooms().flat_map(|room| room.instances())),
        ]
    }

    fn of_backplane(&self, probed: &Probed) -> [Measured; 3] {
        let calls = || BackplaneCall::ALL.iter().zip(&self.backplane).filter(|_| probed.peers.is_some());
        [
            family::PEERS.of(probed.peers.iter().map(|peers| series(vec![], level(*peers)))),
            family::BACKPLANE_SECONDS
                .of(calls().map(|(sharing, call)| series(vec![sharing.label()], call.took.read()))),
            family::BACKPLANE_ERRORS
                .of(calls().map(|(sharing, call)| series(vec![sharing.label()], call.errors.read()))),
        ]
    }

    fn of_store(&self, probed: &Probed) -> [Measured; 5] {
        let store = || probed.store.iter();
        let calls = || Operation::ALL.iter().zip(&self.store).filter(|_| probed.store.is_some());
        [
            family::STORE_UP.of(store().map(|store| series(vec![], level(usize::from(store.up))))),
            family::STORE_SECONDS
                .of(calls().map(|(operation, call)| series(vec![operation.label()], call.took.read()))),
            family::STORE_ERRORS
                .of(calls().map(|(operation, call)| series(vec![operation.label()], call.errors.read()))),
            family::STORE_WAITING_BYTES.of(store().map(|store| series(vec![], level(store.bytes)))),
            family::STORE_WAITING_ROOMS.of(store().map(|store| series(vec![], level(store.rooms)))),
        ]
    }
}

impl Call {
    fn ended(&self, took: Duration, failed: bool) {
        self.took.observe(took);
        self.errors.add(u64::from(failed));
    }
}

fn of_others(probed: &Probed) -> [Measured; 3] {
    let pushes = probed.pushes.iter().flat_map(|(provider, counts)| {
        counts.iter().map(|(outcome, count)| series(vec![*provider, *outcome], Value::Count(*count)))
    });
    [
        family::PUSHES.of(pushes),
        family::WAITING.is(level(probed.waiting)),
        family::DRAINING.is(level(usize::from(probed.draining))),
    ]
}

impl Family {
    fn of(&'static self, series: impl Iterator<Item = Series>) -> Measured {
        Measured { family: self, series: series.collect() }
    }

    /// Of a family without labels.
    fn is(&'static self, value: Value) -> Measured {
        self.of([series(vec![], value)].into_iter())
    }
}

fn series(labels: Vec<&'static str>, value: Value) -> Series {
    Series { labels, value }
}

fn level(size: usize) -> Value {
    // Far below 2^53.
    Value::Level(size as f64)
}

/// What stands in `row` where `wanted` stands in `all`.
fn place<'a, K: PartialEq, T>(all: &[K], wanted: K, row: &'a [T]) -> Option<&'a T> {
    all.iter().position(|other| *other == wanted).and_then(|place| row.get(place))
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Kind;

    const DASHBOARD: &str = include_str!("../docs/grafana.json");
    const ALERTS: &str = include_str!("../docs/alerts.yaml");

    fn families() -> Vec<&'static Family> {
        Measures::default().read().into_iter().map(|measured| measured.family).collect()
    }

    /// What Prometheus calls the lines of a family.
    fn lines(family: &Family) -> Vec<String> {
        match family.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", family.name)).into()
            }
            Kind::Counter | Kind::Gauge => vec![family.name.to_owned()],
        }
    }

    /// The words of a text that begin so.
    fn words<'a>(text: &'a str, begin: &'static str) -> impl Iterator<Item = &'a str> {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        text.split(move |c| !is_of_name(c)).filter(move |word| word.starts_with(begin))
    }

    #[test]
    fn the_documentation_lists_every_family() {
        let docs = include_str!("../docs/metrics.md");
        for Family { name, help, kind, labels } in families() {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            let row = format!("| `{name}` | {} | {labels} | {help} |", format!("{kind:?}").to_lowercase());
            assert!(docs.contains(&row), "{row}");
        }
        assert_eq!(docs.matches("\n| `dialogue_").count(), families().len());
    }

    #[test]
    fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
        let there: Vec<_> = families().into_iter().flat_map(lines).collect();
        for name in [DASHBOARD, ALERTS].into_iter().flat_map(|text| words(text, "dialogue_")) {
            assert!(there.iter().any(|line| line == name), "{name}");
        }
        let shown: Vec<_> = words(DASHBOARD, "dialogue_").collect();
        for family in families() {
            assert!(
                lines(family).iter().any(|line| shown.contains(&&**line)),
                "no panel shows {}",
                family.name
            );
        }
    }

    /// What stands in a query beside the names of numbers: labels to choose and to add up by.
    fn labels_in(query: &str) -> Vec<String> {
        let chosen = query.split('{').skip(1).filter_map(|part| part.split('}').next());
        let chosen = chosen.flat_map(|part| part.split(',')).filter_map(|one| one.split(['=', '!']).next());
        let summed = query.split("by (").skip(1).filter_map(|part| part.split(')').next());
        let summed = summed.flat_map(|part| part.split(','));
        chosen.chain(summed).map(|label| label.trim().to_owned()).collect()
    }

    #[test]
    fn they_ask_by_labels_that_there_are() {
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
                // Every scrape says of which instance it is, and every bucket has a bound.
                let given = ["instance", "job", "le"].contains(&&*label);
                assert!(given || of_query.contains(&&&*label), "{label} in {query}");
            }
        }
    }
}
