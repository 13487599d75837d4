//! Rooms over plain HTTP: the requests to trigger an event, list, create and delete rooms, and read history; and the
//! health check.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::Instrument;

use super::{
    admission::{RefusalResponse, address, admit_request, check_origin},
    fallback::fallback,
};
use crate::{
    Code, Refusal,
    drain::draining,
    engine::{Engine, Health},
    hooks::UntypedCaller,
    identity::{Principal, SERVER_SENDER, User, expired},
    ingest::{Payload, Trigger, TriggerFields, TriggerSender},
    live::{PublishReply, history as history_page, not_found},
    observe::{EventOrigin, Source, TraceParent, spans},
    session::{
        Fields, HISTORY_LIMITS, ROOM_LIST_LIMITS, Requester, check_depth, create_room,
        delete_room as delete_instance, invalid,
    },
    wire::{
        EventSet,
        frame::{self, ServerFrame},
        request::CreateRoom,
    },
};

/// The time in which a request body must be received.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the routes of rooms over HTTP.
pub(crate) fn routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new()
        .route("/rooms", fallback(get(rooms).post(create), engine))
        .route("/rooms/{id}", fallback(delete(delete_room), engine))
        .route("/rooms/{room_id}/history", fallback(get(history), engine))
        .route("/rooms/{room_id}/events/{event}", fallback(post(trigger), engine))
}

/// Returns the route of the health check, at the path that the application has set.
pub(crate) fn health_route(path: &str, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new().route(path, fallback(get(health), engine))
}

async fn trigger(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, RefusalResponse> {
    let arrived_at = Instant::now();
    let (parts, mut body) = request.into_parts();
    let outcome = admit_trigger(&engine, path, &parts, &mut body).await;
    read_refused_body(outcome, body, arrived_at).await
}

async fn admit_trigger(
    engine: &Arc<Engine>,
    path: Result<Path<(String, String)>, PathRejection>,
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, RefusalResponse> {
    let headers = &parts.headers;
    check_origin(engine, headers, &parts.uri)?;
    let (caller, rate_limit_key) = admit_request(engine, parts).await?;
    let Path((room_id, event)) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    if !is_json(headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let room = engine.room(&room_id)?;
    let event = room.event(&event).ok_or_else(|| room.not_carried(&event))?;
    let span = spans::trigger(None, Source::Http, room.name, &room_id, room.event_name(event));
    engine.observed.traces.set_parent(&span, TraceParent::from_headers(headers).as_ref());
    let body = read_body(body, engine.bounds.requests.max_frame_bytes).instrument(span.clone()).await;
    // A drain that starts from here on waits for the event.
    let _publish_guard = engine.drain.publish_guard();
    let (rate_limit_key, address) = (rate_limit_key.as_ref(), address(engine, parts));
    let mut fields = trigger_fields(engine, headers, &body).map_err(Box::new);
    let sender = match &caller {
        Principal::User(user) => TriggerSender::User { user, rate_limit_key, address },
        Principal::Backend => {
            let name = sender(headers).unwrap_or_else(|refusal| {
                fields = Err(Box::new(refusal));
                SERVER_SENDER.into()
            });
            TriggerSender::Backend { name }
        }
    };
    let origin = EventOrigin::now(&room.meter, Source::Http, span);
    let (room_id, reply) = (&room_id.into(), PublishReply::None);
    let trigger = Trigger { room, room_id, event, sender, fields, origin, reply };
    let (accepted, _) = engine.ingest.trigger(trigger).await?;
    Ok(frame_response(&accepted))
}

/// Reads the fields of a trigger from the body and the headers of its request.
///
/// # Errors
///
/// The refusal of the body, or of an invalid field; `UNAVAILABLE` if the node has begun to drain.
fn trigger_fields<'a>(
    engine: &Engine,
    headers: &HeaderMap,
    body: &'a Result<Bytes, Refusal>,
) -> Result<TriggerFields<'a>, Refusal> {
    let key = key(headers)?;
    let body = body.as_ref().map_err(Refusal::clone)?;
    if engine.drain.is_on() {
        return Err(draining());
    }
    let data = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8"))?;
    if data.trim().is_empty() {
        return Err(invalid("`data` is missing: the body is the event's payload as JSON"));
    }
    check_depth(data, engine.bounds.requests.max_json_depth)?;
    if serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
        return Err(invalid("the body is not JSON"));
    }
    Ok(TriggerFields { payload: Payload::Json(data.into()), key, meta: None })
}

async fn create(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, RefusalResponse> {
    let arrived_at = Instant::now();
    let (parts, mut body) = request.into_parts();
    let outcome = admit_create(&engine, &parts, &mut body).await;
    read_refused_body(outcome, body, arrived_at).await
}

async fn admit_create(
    engine: &Arc<Engine>,
    parts: &Parts,
    sent: &mut Body,
) -> Result<Response, RefusalResponse> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    let (caller, _) = admit_request(engine, parts).await?;
    if !is_json(&parts.headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let user = match &caller {
        Principal::User(user) => Some(user),
        Principal::Backend => None,
    };
    let sent = read_body_of(user, sent, engine.bounds.requests.max_frame_bytes).await?;
    let text = std::str::from_utf8(&sent).map_err(|_| invalid("the body is not UTF-8"))?;
    let creation: CreateRoom<'_> = Fields::parse_body(text, engine.bounds.requests.max_json_depth)?.read()?;
    as_requester(engine, caller, parts, async |by| create_room(engine, creation, by).await).await
}

async fn delete_room(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, RefusalResponse> {
    let arrived_at = Instant::now();
    let (parts, body) = request.into_parts();
    let outcome = admit_delete(&engine, path, &parts).await;
    read_refused_body(outcome, body, arrived_at).await
}

async fn admit_delete(
    engine: &Arc<Engine>,
    path: Result<Path<String>, PathRejection>,
    parts: &Parts,
) -> Result<Response, RefusalResponse> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    let (caller, _) = admit_request(engine, parts).await?;
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    as_requester(engine, caller, parts, async |by| delete_instance(engine, &room_id, by).await).await
}

/// Creates or deletes a room instance on behalf of the caller.
async fn as_requester(
    engine: &Engine,
    caller: Principal,
    parts: &Parts,
    change: impl AsyncFnOnce(Requester<'_>) -> Result<(), Refusal>,
) -> Result<Response, RefusalResponse> {
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    match caller {
        Principal::User(user) => {
            change(Requester::User(&UntypedCaller { user, client_id: None }, address(engine, parts))).await?
        }
        Principal::Backend => change(Requester::Backend(&sender(&parts.headers)?)).await?,
    }
    Ok(frame_response(&frame::Done {}))
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
) -> Result<Response, RefusalResponse> {
    let actor = actor(admit_request(&engine, &parts).await?.0);
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let limit = ROOM_LIST_LIMITS.check(query.limit)?;
    Ok(frame_response(&engine.list(actor.as_ref(), query.after.as_deref(), limit).await?))
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
) -> Result<Response, RefusalResponse> {
    let actor = actor(admit_request(&engine, &parts).await?.0);
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    let room = engine.room(&room_id)?;
    if let Some(actor) = &actor {
        engine.admission.access.may_join(actor, room, &room_id).await?;
    }
    let wanted = match &query.event {
        Some(event) => room.events_named([event.as_str()])?,
        None => EventSet::ALL,
    };
    let limit = HISTORY_LIMITS.check(query.limit)?.min(engine.bounds.requests.max_history_events);
    let page = loop {
        // A read doesn't create an instance of a keyed room.
        let instance = match engine.registry.look_up(&room_id).await? {
            Some(instance) => instance,
            None if room.keyed => return Err(not_found(&room_id).into()),
            None => engine.registry.find_or_open(room, &room_id, None)?,
        };
        match instance.history(query.before, wanted, limit).await {
            // Closed in the meantime: the next iteration opens it again.
            Err(_) if instance.is_closed() && instance.failure().is_none() => tokio::task::yield_now().await,
            page => break page?,
        }
    };
    Ok(json(history_page(&room_id, &page, None).json))
}

async fn health(State(engine): State<Arc<Engine>>) -> Health {
    engine.health()
}

/// The response of the health check: 200 or 503, with the status as JSON.
impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = if self.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
    }
}

/// Returns the user of a request, or `None` for the application's backend, which may read everything.
fn actor(caller: Principal) -> Option<UntypedCaller> {
    match caller {
        Principal::User(user) => Some(UntypedCaller { user, client_id: None }),
        Principal::Backend => None,
    }
}

/// Returns `outcome`, after reading the rest of the body if it is a refusal. If a request is refused before its body
/// was read, HTTP/1.1 can only close the connection, and a client that still sends gets a TCP reset instead of the
/// refusal (RFC 9112, section 9.6).
///
/// The body has [`BODY_TIMEOUT`] from the arrival of the request, so that a refused request takes no longer than an
/// accepted one.
pub(super) async fn read_refused_body<T>(
    outcome: Result<T, RefusalResponse>,
    mut body: Body,
    arrived_at: Instant,
) -> Result<T, RefusalResponse> {
    if outcome.is_err() {
        // A timeout or an error of the body doesn't change the refusal.
        let _ = timeout_at(arrived_at + BODY_TIMEOUT, read(&mut body, 0)).await;
    }
    outcome
}

/// Reads the body of a user's request as [`read_body`] does, and refuses the request if the user's token has expired
/// meanwhile.
pub(super) async fn read_body_of(
    user: Option<&User>,
    body: &mut Body,
    limit: usize,
) -> Result<Bytes, Refusal> {
    let body = read_body(body, limit).await?;
    if user.is_some_and(User::is_expired) { Err(expired()) } else { Ok(body) }
}

/// Reads a body of at most `limit` bytes, within [`BODY_TIMEOUT`].
async fn read_body(body: &mut Body, limit: usize) -> Result<Bytes, Refusal> {
    timeout(BODY_TIMEOUT, read(body, limit))
        .await
        .map_err(|_| invalid("the body was not received in time"))?
}

/// Reads a body of at most `limit` bytes. Up to 1 MiB beyond that is read and discarded: a client that still sends
/// wouldn't receive the refusal.
async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Refusal> {
    const MAX_DISCARDED_BYTES: usize = 1 << 20;
    let mut whole = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| invalid("the body can't be read"))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= limit {
            whole.extend_from_slice(&data);
        } else if size > limit + MAX_DISCARDED_BYTES {
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

/// Returns the sender's name that the application's backend has set for its event or room: the percent-encoded header
/// `Dialogue-From`, or [`SERVER_SENDER`].
fn sender(headers: &HeaderMap) -> Result<Arc<str>, Refusal> {
    const MAX_BYTES: usize = 128;
    let invalid = || {
        self::invalid(
            "`Dialogue-From` is at most 128 bytes of percent-encoded text, without control characters",
        )
    };
    let raw = headers.get("dialogue-from").map_or(&b""[..], HeaderValue::as_bytes);
    let is_encoded =
        |at: usize| raw.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if raw.iter().enumerate().any(|(at, byte)| *byte == b'%' && !is_encoded(at)) {
        return Err(invalid());
    }
    let from = percent_encoding::percent_decode(raw).decode_utf8().map_err(|_| invalid())?;
    match &*from {
        "" => Ok(SERVER_SENDER.into()),
        from if from.len() > MAX_BYTES || from.chars().any(char::is_control) => Err(invalid()),
        from => Ok(from.into()),
    }
}

/// Returns a response with a frame as its JSON body.
pub(super) fn frame_response<F: ServerFrame>(frame: &F) -> Response {
    json(frame.encode(None).json)
}

fn json(body: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, body).into_response()
}
