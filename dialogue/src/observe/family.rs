//! What is measured: names, kinds and labels.

use Kind::{Counter, Gauge, Histogram};

/// Numbers that are measured alike, one for each combination of its labels.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Family {
    /// The name, as Prometheus shows it: that of a counter ends in `_total`, that of a time in `_seconds`.
    pub name: &'static str,
    /// What it says, in a sentence.
    pub help: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is many numbers, of how long things took.
    Histogram,
}

const fn family(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, help, kind, labels }
}

pub(super) static CONNECTIONS: Family =
    family("dialogue_connections_total", Counter, &[], "Sockets and streams that were opened");
pub(super) static ACTIVE: Family =
    family("dialogue_connections_active", Gauge, &[], "Sockets and streams that are open");
pub(super) static ACTIVE_BY_CHANNEL: Family =
    family("dialogue_channel_connections_active", Gauge, &["channel"], "The same for each channel");
pub(super) static CLOSED: Family = family(
    "dialogue_connections_closed_total",
    Counter,
    &["channel", "reason"],
    "Sockets and streams that ended, and why; `too_slow` are readers that were cut",
);
pub(super) static EVENTS: Family =
    family("dialogue_events_total", Counter, &["room", "event"], "Events that this instance took into rooms");
pub(super) static LATENCY: Family = family(
    "dialogue_events_latency_seconds",
    Histogram,
    &["room", "event"],
    "From an accepted frame, request or call to the last local write of its event",
);
pub(super) static DELIVERIES: Family = family(
    "dialogue_deliveries_total",
    Counter,
    &["room"],
    "Events handed to live readers, once for each reader",
);
pub(super) static SKIPPED: Family = family(
    "dialogue_events_skipped_total",
    Counter,
    &["room"],
    "Ephemeral events that a reader didn't get as it reads too slowly, once for each reader",
);
pub(super) static TRIGGERS: Family = family(
    "dialogue_triggers_total",
    Counter,
    &["room", "channel", "outcome"],
    "Events that somebody tried to put into a room, and what became of them",
);
pub(super) static REFUSALS: Family = family(
    "dialogue_refusals_total",
    Counter,
    &["channel", "code"],
    "Requests of any kind that were answered with an error",
);
pub(super) static SIZE: Family =
    family("dialogue_rooms_size", Gauge, &["room"], "Connections in all of a room's instances together");
pub(super) static INSTANCES: Family =
    family("dialogue_rooms_instances", Gauge, &["room"], "A room's instances in memory");
pub(super) static RESUMES: Family = family(
    "dialogue_resumes_total",
    Counter,
    &["room", "outcome"],
    "Joins, by what of the past they got: `fresh` asked for none, `complete` for all, and for `lost` the log no longer had it",
);
pub(super) static WAITING: Family = family(
    "dialogue_outboxes_waiting_bytes",
    Gauge,
    &[],
    "Bytes that wait for connections which read too slowly",
);
pub(super) static STORE_UP: Family =
    family("dialogue_store_up", Gauge, &[], "Whether the store takes events: 1 or 0");
pub(super) static STORE_SECONDS: Family =
    family("dialogue_store_seconds", Histogram, &["operation"], "How long calls of the store took");
pub(super) static STORE_ERRORS: Family = family(
    "dialogue_store_errors_total",
    Counter,
    &["operation"],
    "Calls of the store that failed, or that nobody waited for any longer",
);
pub(super) static STORE_WAITING_BYTES: Family =
    family("dialogue_store_waiting_bytes", Gauge, &[], "Bytes of payloads that wait to be appended");
pub(super) static STORE_WAITING_ROOMS: Family =
    family("dialogue_store_waiting_rooms", Gauge, &[], "Rooms that wait to be appended to");
pub(super) static BACKFILLS: Family = family(
    "dialogue_backfills_total",
    Counter,
    &["room"],
    "Times that an instance looked in the log for what other instances put there and it may have missed",
);
pub(super) static PEERS: Family =
    family("dialogue_backplane_peers", Gauge, &[], "Instances that share the rooms, this one too");
pub(super) static BACKPLANE_SECONDS: Family = family(
    "dialogue_backplane_seconds",
    Histogram,
    &["operation"],
    "How long calls of the backplane took, beside those that a store has too",
);
pub(super) static BACKPLANE_ERRORS: Family = family(
    "dialogue_backplane_errors_total",
    Counter,
    &["operation"],
    "Calls of the backplane that failed, or that nobody waited for any longer",
);
pub(super) static PUSHES: Family = family(
    "dialogue_pushes_total",
    Counter,
    &["provider", "outcome"],
    "Notifications for people who are away, and what became of them",
);
pub(super) static DRAINING: Family =
    family("dialogue_draining", Gauge, &[], "Whether the instance is going down: 1 or 0");
