//! The data of the inspector's page, as JSON.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header::CACHE_CONTROL, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::Value as Frame;
use tokio::time::timeout;

use super::{super::admission::RefusalResponse, largest::LargestInstances, require_server_key};
use crate::{
    engine::Engine,
    event::{DeliveryClass, Sender},
    live::{LiveRoom, RoomRead, RoomSpec},
    observe::{MetricFamily, MetricValue, MetricsSource},
    room::Channel,
    session::invalid,
};

/// The maximum number of listed room instances: those with the most connections.
const MAX_INSTANCES: usize = 100;
/// The timeout of reading a room's members.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of listed members of a room.
const MAX_MEMBERS: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct InspectQuery {
    room: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspection<'a> {
    schema: &'a str,
    users: usize,
    rooms: Vec<RoomRow<'a>>,
    instances: Vec<InstanceRow>,
    /// The number of all room instances at this node.
    instances_in_all: usize,
    /// The `members` frame of the requested room, if the room is live.
    members: Option<Frame>,
    families: Vec<FamilyRow>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RoomRow<'a> {
    name: &'static str,
    title: Option<&'static str>,
    description: Option<&'static str>,
    keyed: bool,
    channels: Vec<&'static str>,
    capacity: Option<u32>,
    role: Option<&'static str>,
    presence: bool,
    events: Vec<EventRow<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventRow<'a> {
    name: &'static str,
    class: &'static str,
    from: &'static str,
    /// The Rust declaration of the event's type.
    shape: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InstanceRow {
    room_id: String,
    room: &'static str,
    size: usize,
}

#[derive(Serialize)]
struct FamilyRow {
    name: &'static str,
    series: Vec<SeriesRow>,
}

#[derive(Serialize)]
struct SeriesRow {
    labels: BTreeMap<&'static str, &'static str>,
    #[serde(flatten)]
    value: SeriesValue,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SeriesValue {
    Counter {
        value: u64,
    },
    Gauge {
        value: f64,
    },
    Histogram {
        sum: f64,
        /// The upper bound of each bucket in seconds (`None` for the last), and the number of durations in it alone.
        buckets: Vec<(Option<f64>, u64)>,
    },
}

pub(super) async fn inspect(
    State(engine): State<Arc<Engine>>,
    parts: Parts,
    query: Result<Query<InspectQuery>, QueryRejection>,
) -> Result<Response, RefusalResponse> {
    require_server_key(&engine, &parts).await?;
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let members = match query.room.as_deref().and_then(|room_id| engine.registry.find(room_id)) {
        Some(instance) => members(&instance).await,
        None => None,
    };
    let largest = LargestInstances::of(&engine.registry, MAX_INSTANCES);
    let inspection = Inspection {
        schema: &engine.schema,
        users: engine.directory.user_count(),
        rooms: engine.registry.rooms.iter().map(|room| room_row(room)).collect(),
        instances: largest.instances.iter().map(|instance| instance_row(instance)).collect(),
        instances_in_all: largest.total,
        members,
        families: engine.observed.metrics.iter().flat_map(|metrics| metrics.read()).map(family).collect(),
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(inspection)).into_response())
}

async fn members(instance: &Arc<LiveRoom>) -> Option<Frame> {
    // The room's task may be busy while the store is slow, when the rest of the page matters most.
    let listed =
        instance.request(|reply| RoomRead::Members { after: None, limit: MAX_MEMBERS, id: None, reply });
    let frame = timeout(MEMBERS_TIMEOUT, listed).await.ok()??;
    serde_json::from_slice(&frame.json).ok()
}

fn room_row(room: &RoomSpec) -> RoomRow<'_> {
    let channel = |channel: &Channel| match channel {
        Channel::WebSocket => "websocket",
        Channel::Sse => "sse",
        Channel::WebPush => "webpush",
    };
    let events = room.events.iter().map(|kind| EventRow {
        name: kind.name,
        class: match kind.class {
            DeliveryClass::Durable => "durable",
            DeliveryClass::Latest => "latest",
            DeliveryClass::Ephemeral => "ephemeral",
        },
        from: if kind.sender == Sender::Server { "server" } else { "anyone" },
        shape: kind.shape,
    });
    RoomRow {
        name: room.name,
        title: room.options.title,
        description: room.options.description,
        keyed: room.keyed,
        channels: room.channels.iter().map(channel).collect(),
        capacity: room.options.capacity,
        role: room.options.role,
        presence: room.options.presence.is_some(),
        events: events.collect(),
    }
}

fn instance_row(instance: &LiveRoom) -> InstanceRow {
    InstanceRow { room_id: instance.id.to_string(), room: instance.room.name, size: instance.size() }
}

fn family(family: MetricFamily) -> FamilyRow {
    let names = family.descriptor.labels;
    let series = family.series.into_iter().map(|series| SeriesRow {
        labels: names.iter().copied().zip(series.labels).collect(),
        value: match series.value {
            MetricValue::Counter(value) => SeriesValue::Counter { value },
            MetricValue::Gauge(value) => SeriesValue::Gauge { value },
            MetricValue::Histogram { sum, buckets } => {
                let bound = |bound: f64| bound.is_finite().then_some(bound);
                SeriesValue::Histogram {
                    sum,
                    buckets: buckets.into_iter().map(|(to, n)| (bound(to), n)).collect(),
                }
            }
        },
    });
    FamilyRow { name: family.descriptor.name, series: series.collect() }
}
