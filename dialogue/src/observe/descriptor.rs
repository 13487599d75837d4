//! The metric families of a server: their names, kinds, labels and help texts, by the conventions of
//! [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/). A test holds `docs/metrics.md` to them.

use dialogue_core::metrics::{
    MetricDescriptor,
    MetricKind::{self, Counter, Gauge, Histogram},
};

const fn descriptor(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricDescriptor {
    MetricDescriptor::new(name, kind, labels, help)
}

pub(super) static CONNECTIONS: MetricDescriptor = descriptor(
    "dialogue_connections_total",
    Counter,
    &[],
    "WebSocket connections and event streams that were opened",
);
pub(super) static ACTIVE: MetricDescriptor = descriptor(
    "dialogue_connections_active",
    Gauge,
    &[],
    "WebSocket connections and event streams that are open",
);
pub(super) static ACTIVE_BY_CHANNEL: MetricDescriptor = descriptor(
    "dialogue_channel_connections_active",
    Gauge,
    &["channel"],
    "Open connections of each channel",
);
pub(super) static CLOSED: MetricDescriptor = descriptor(
    "dialogue_connections_closed_total",
    Counter,
    &["channel", "reason"],
    "WebSocket connections and event streams that ended, by reason; `too_slow` are slow readers that the server closed",
);
pub(super) static EVENTS: MetricDescriptor =
    descriptor("dialogue_events_total", Counter, &["room", "event"], "Events that this node accepted");
pub(super) static LATENCY: MetricDescriptor = descriptor(
    "dialogue_events_latency_seconds",
    Histogram,
    &["room", "event"],
    "Time from the receipt of a frame, request or call to the last local write of its event",
);
pub(super) static DELIVERIES: MetricDescriptor = descriptor(
    "dialogue_deliveries_total",
    Counter,
    &["room"],
    "Events delivered to live subscriptions, once for each subscription",
);
pub(super) static SKIPPED: MetricDescriptor = descriptor(
    "dialogue_events_skipped_total",
    Counter,
    &["room"],
    "Ephemeral events that were skipped for slow readers, once for each subscription",
);
pub(super) static TRIGGERS: MetricDescriptor = descriptor(
    "dialogue_triggers_total",
    Counter,
    &["room", "channel", "outcome"],
    "Attempts to publish an event, by outcome",
);
pub(super) static REFUSALS: MetricDescriptor = descriptor(
    "dialogue_refusals_total",
    Counter,
    &["channel", "code"],
    "Requests of any kind that were refused, by error code",
);
pub(super) static SIZE: MetricDescriptor =
    descriptor("dialogue_rooms_size", Gauge, &["room"], "Connections in all instances of a room together");
pub(super) static INSTANCES: MetricDescriptor =
    descriptor("dialogue_rooms_instances", Gauge, &["room"], "Instances of a room in memory");
pub(super) static RESUMES: MetricDescriptor = descriptor(
    "dialogue_resumes_total",
    Counter,
    &["room", "outcome"],
    "Joins, by the replay they got: `fresh` asked for none, `complete` got every missed event, for `lost` the log no longer had them",
);
pub(super) static WAITING: MetricDescriptor =
    descriptor("dialogue_outboxes_waiting_bytes", Gauge, &[], "Bytes queued in the outboxes of connections");
pub(super) static STORE_UP: MetricDescriptor =
    descriptor("dialogue_store_up", Gauge, &[], "1 while the store accepts events, otherwise 0");
pub(super) static STORE_SECONDS: MetricDescriptor =
    descriptor("dialogue_store_seconds", Histogram, &["operation"], "Duration of calls to the store");
pub(super) static STORE_ERRORS: MetricDescriptor = descriptor(
    "dialogue_store_errors_total",
    Counter,
    &["operation"],
    "Calls to the store that failed, timed out or were dropped",
);
pub(super) static STORE_WAITING_BYTES: MetricDescriptor =
    descriptor("dialogue_store_waiting_bytes", Gauge, &[], "Bytes of payloads queued for an append");
pub(super) static STORE_WAITING_ROOMS: MetricDescriptor =
    descriptor("dialogue_store_waiting_rooms", Gauge, &[], "Rooms with events queued for an append");
pub(super) static BACKFILLS: MetricDescriptor = descriptor(
    "dialogue_backfills_total",
    Counter,
    &["room"],
    "Reads of a log for events of other nodes that this node may have missed",
);
pub(super) static NODES: MetricDescriptor =
    descriptor("dialogue_backplane_nodes", Gauge, &[], "Nodes that share the rooms, this one included");
pub(super) static BACKPLANE_SECONDS: MetricDescriptor = descriptor(
    "dialogue_backplane_seconds",
    Histogram,
    &["operation"],
    "Duration of calls to the backplane, without those that a store has too",
);
pub(super) static BACKPLANE_ERRORS: MetricDescriptor = descriptor(
    "dialogue_backplane_errors_total",
    Counter,
    &["operation"],
    "Calls to the backplane that failed, timed out or were dropped",
);
pub(super) static PUSHES: MetricDescriptor =
    descriptor("dialogue_pushes_total", Counter, &["provider", "outcome"], "Push notifications, by outcome");
pub(super) static DRAINING: MetricDescriptor =
    descriptor("dialogue_draining", Gauge, &[], "1 while the node drains, otherwise 0");
