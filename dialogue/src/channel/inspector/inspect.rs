//! What the page shows, as JSON.

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

use super::{super::admission::Refused, admit};
use crate::{
    Channel, DeliveryClass, Sender,
    engine::Engine,
    hub::{Instance, RoomDecl},
    observe::{Measured, Value},
    session::invalid,
};

/// Instances that are listed: those with the most connections.
const INSTANCES: usize = 100;
/// How long who is in a room may take to be told.
const PATIENCE: Duration = Duration::from_secs(1);
/// Users of a room that are listed.
const MEMBERS: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    room: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inspected<'a> {
    schema: &'a str,
    users: usize,
    rooms: Vec<Room<'a>>,
    instances: Vec<Live>,
    /// Of how many those are the largest.
    instances_in_all: usize,
    /// The `members` frame of the room that was asked for, if it is there.
    members: Option<Frame>,
    families: Vec<Family>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Room<'a> {
    name: &'static str,
    title: Option<&'static str>,
    description: Option<&'static str>,
    keyed: bool,
    channels: Vec<&'static str>,
    capacity: Option<u32>,
    role: Option<&'static str>,
    presence: bool,
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    name: &'static str,
    class: &'static str,
    from: &'static str,
    /// The event's type as it is written in Rust.
    shape: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Live {
    room_id: String,
    room: &'static str,
    size: usize,
}

#[derive(Serialize)]
struct Family {
    name: &'static str,
    series: Vec<Series>,
}

#[derive(Serialize)]
struct Series {
    labels: BTreeMap<&'static str, &'static str>,
    #[serde(flatten)]
    value: Number,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Count {
        value: u64,
    },
    Level {
        value: f64,
    },
    Spread {
        sum: f64,
        /// Bounds in seconds, the last without one, and how many were within each and not within the one before.
        buckets: Vec<(Option<f64>, u64)>,
    },
}

pub(super) async fn inspect(
    State(engine): State<Arc<Engine>>,
    parts: Parts,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    admit(&engine, &parts).await?;
    let Query(wanted) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let members = match wanted.room.as_deref().and_then(|room_id| engine.registry.find(room_id)) {
        Some(instance) => members(&instance).await,
        None => None,
    };
    let (largest, instances_in_all) = engine.registry.largest(INSTANCES);
    let inspected = Inspected {
        schema: &engine.schema,
        users: engine.directory.user_count(),
        rooms: engine.registry.rooms().iter().map(|room| describe(room)).collect(),
        instances: largest.iter().map(|instance| live(instance)).collect(),
        instances_in_all,
        members,
        families: engine.measures.iter().flat_map(|measures| measures.read()).map(family).collect(),
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(inspected)).into_response())
}

async fn members(instance: &Arc<Instance>) -> Option<Frame> {
    // Its turn may come late while the store is slow; everything else is to be seen then above all.
    let listed = instance.run(|state| state.members(None, MEMBERS, None));
    let frame = timeout(PATIENCE, listed).await.ok()??;
    serde_json::from_slice(&frame).ok()
}

fn describe(room: &RoomDecl) -> Room<'_> {
    let channel = |channel: &Channel| match channel {
        Channel::WebSocket => "websocket",
        Channel::Sse => "sse",
        Channel::WebPush => "webpush",
    };
    let events = room.events.iter().map(|kind| Event {
        name: kind.name,
        class: match kind.class {
            DeliveryClass::Durable => "durable",
            DeliveryClass::Latest => "latest",
            DeliveryClass::Ephemeral => "ephemeral",
        },
        from: if kind.sender == Sender::Server { "server" } else { "anyone" },
        shape: kind.shape,
    });
    Room {
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

fn live(instance: &Instance) -> Live {
    Live { room_id: instance.id.to_string(), room: instance.room.name, size: instance.size() }
}

fn family(measured: Measured) -> Family {
    let names = measured.family.labels;
    let series = measured.series.into_iter().map(|series| Series {
        labels: names.iter().copied().zip(series.labels).collect(),
        value: match series.value {
            Value::Count(value) => Number::Count { value },
            Value::Level(value) => Number::Level { value },
            Value::Spread { sum, buckets } => {
                let bound = |bound: f64| bound.is_finite().then_some(bound);
                Number::Spread { sum, buckets: buckets.into_iter().map(|(to, n)| (bound(to), n)).collect() }
            }
        },
    });
    Family { name: measured.family.name, series: series.collect() }
}
