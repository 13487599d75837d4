//! Rooms over plain HTTP: trigger, list, history, health.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::{Instrument, Span};

use super::admission::{Refused, check_origin, counted};
use crate::{
    Accepted, Code, Refusal, Sender,
    engine::{Engine, draining},
    gate::{AnyRoom, Post, Subject},
    hooks::{Actor, RoomRef},
    hub::{RoomDecl, history as room_history},
    identity::Caller,
    log::Page,
    observe::{Origin, Source, TraceParent, refused, spans},
    session::{HISTORY, ROOMS, bounded_limit, check_depth, invalid},
    wire::{EventSet, frame::Frame},
};

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The endpoints that belong to no channel.
pub(crate) fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/rooms", get(rooms))
        .route("/rooms/{room_id}/history", get(history))
        .route("/rooms/{room_id}/events/{event}", post(trigger))
        .route("/health", get(health))
}

async fn trigger(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    check_origin(&engine, &parts.headers, &parts.uri)?;
    let (caller, subject) = counted(&engine, &parts).await?;
    let Path((room_id, event)) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    if !is_json(headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let (room, gate) = engine.room(&room_id)?;
    let event = room.event(&event).ok_or_else(|| room.not_carried(&event))?;
    let span = spans::trigger(None, Source::Http, (room.name, &room_id, room.event_name(event)));
    engine.traces.continues(&span, TraceParent::of(headers).as_ref());
    let (by, sent) = ((caller, subject), (headers, body));
    let triggered = trigger_in(&engine, (room, gate), (&room_id, event), by, sent, span.clone());
    let accepted = triggered.instrument(span.clone()).await.inspect_err(|refusal| {
        room.meter.refused(Source::Http, refusal);
        refused(&span, refusal);
    })?;
    Ok(answer::<Accepted>("ok", accepted))
}

async fn trigger_in(
    engine: &Arc<Engine>,
    (room, gate): (&Arc<RoomDecl>, &Arc<dyn AnyRoom>),
    (room_id, index): (&str, u8),
    (caller, subject): (Caller, Option<Subject>),
    (headers, body): (&HeaderMap, Body),
    span: Span,
) -> Result<Accepted, Refusal> {
    let event = room.event_name(index);
    let server = matches!(caller, Caller::Backend);
    if !server && room.events.get(usize::from(index)).is_none_or(|kind| kind.sender == Sender::Server) {
        let message = format!("`{event}` is sent by the server only");
        return Err(Refusal::new(Code::EventNotAllowed, message));
    }
    if let Caller::User(user) = &caller {
        engine.may_join(&Actor { user: user.clone(), client_id: None }, room, room_id).await?;
    }
    let key = key(headers)?;
    let body = self::body(body, engine.limits.frame).await?;
    let origin = Origin::now(&room.meter, Source::Http, span);
    // From here on draining waits for it.
    let _speaking = engine.speak();
    if engine.drain.is_on() {
        return Err(draining());
    }
    let data = std::str::from_utf8(&body).map_err(|_| invalid("the body is not UTF-8"))?;
    if data.trim().is_empty() {
        return Err(invalid("`data` is missing: the body is the event's payload as JSON"));
    }
    check_depth(data, engine.limits.depth)?;
    if serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
        return Err(invalid("the body is not JSON"));
    }
    if let Some(subject) = &subject {
        engine.limiter.event(subject, room.index).await?;
    }
    let mut post = Box::new(Post {
        registry: Arc::clone(&engine.registry),
        room: Arc::clone(room),
        room_id: room_id.into(),
        event: index,
        from: "system".into(),
        user: None,
        subject,
        limiter: Arc::clone(&engine.limiter),
        server,
        meta: engine.traces.carry(&origin.span, None),
        key,
        origin,
        to: None,
        recipients: None,
        push: engine.push.clone(),
    });
    match caller {
        Caller::User(user) => {
            post.from = Arc::clone(&user.id);
            post.user = Some(user.clone());
            engine.trigger(&Actor { user, client_id: None }, gate, data, post).await
        }
        Caller::Backend => {
            post.from = sender(headers)?;
            engine.admit_event(gate, data, post).await
        }
    }
}

#[derive(Debug, Deserialize)]
struct RoomsQuery {
    limit: Option<usize>,
    after: Option<String>,
}

async fn rooms(
    State(engine): State<Arc<Engine>>,
    parts: Parts,
    query: Result<Query<RoomsQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let actor = actor(counted(&engine, &parts).await?.0);
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let limit = bounded_limit(query.limit.unwrap_or(ROOMS.0), ROOMS.1)?;
    let visible = |room: RoomRef<'_>, declared: &RoomDecl| {
        actor.as_ref().is_none_or(|actor| engine.sees(actor, room, declared))
    };
    Ok(answer("rooms", engine.registry.list(query.after.as_deref(), visible, limit).await?))
}

#[derive(Debug, Deserialize)]
struct HistoryQuery {
    event: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

async fn history(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let actor = actor(counted(&engine, &parts).await?.0);
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    let (room, _) = engine.room(&room_id)?;
    if let Some(actor) = &actor {
        engine.may_join(actor, room, &room_id).await?;
    }
    let wanted = match &query.event {
        Some(event) => room.events_named([event.as_str()])?,
        None => EventSet::ALL,
    };
    let limit = bounded_limit(query.limit.unwrap_or(HISTORY.0), HISTORY.1)?.min(engine.limits.history);
    let page = loop {
        // Whoever only reads makes no room.
        let instance = match engine.registry.look_up(&room_id).await? {
            Some(instance) => instance,
            None if room.keyed => break Page::default(),
            None => engine.registry.enter(room, &room_id)?,
        };
        match instance.history(query.before, wanted, limit).await {
            // It went just now: the next try makes a new one.
            Err(_) if instance.is_retired() && instance.failure().is_none() => tokio::task::yield_now().await,
            page => break page?,
        }
    };
    Ok(json(room_history(&room_id, &page, None)))
}

async fn health(State(engine): State<Arc<Engine>>) -> Response {
    if engine.drain.is_on() {
        let body = Json(serde_json::json!({ "status": "draining", "reason": "the instance is going down" }));
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    if !engine.registry.is_up() {
        let body =
            Json(serde_json::json!({ "status": "unavailable", "reason": "the store takes no events" }));
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    Json(serde_json::json!({ "status": "ok" })).into_response()
}

/// The user that a request is of; the application's own backend is none, and may do everything.
fn actor(caller: Caller) -> Option<Actor> {
    match caller {
        Caller::User(user) => Some(Actor { user, client_id: None }),
        Caller::Backend => None,
    }
}

/// A body of at most `limit` bytes, that comes in time.
pub(super) async fn body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    timeout(BODY_WITHIN, read(body, limit)).await.map_err(|_| invalid("the body didn't come in time"))?
}

/// Reads a body of at most `limit` bytes. What is over is read too, for a while: a client that still sends doesn't
/// see the answer.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Refusal> {
    const FOR_A_WHILE: usize = 1 << 20;
    let mut whole = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| invalid("the body can't be read"))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= limit {
            whole.extend_from_slice(&data);
        } else if size > limit + FOR_A_WHILE {
            break;
        }
    }
    if size > limit {
        return Err(Refusal::new(Code::TooLarge, format!("the body is over {limit} bytes")));
    }
    Ok(whole.freeze())
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|mime| mime.trim().eq_ignore_ascii_case("application/json"))
}

fn key(headers: &HeaderMap) -> Result<Option<Box<str>>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=128).contains(&key.len()) => Ok(Some(key.into())),
        _ => Err(invalid("`Idempotency-Key` is 1 to 128 bytes of text")),
    }
}

/// Whom a backend's event is from.
fn sender(headers: &HeaderMap) -> Result<Arc<str>, Refusal> {
    match headers.get("dialogue-from").map(HeaderValue::to_str) {
        None => Ok("system".into()),
        Some(Ok(from)) if (1..=128).contains(&from.len()) => Ok(from.into()),
        Some(_) => Err(invalid("`Dialogue-From` is 1 to 128 bytes of text")),
    }
}

pub(super) fn answer<T: serde::Serialize>(kind: &'static str, body: T) -> Response {
    json(Frame::new(kind, None, body).encode())
}

fn json(body: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}
