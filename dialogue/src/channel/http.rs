//! Rooms over plain HTTP: trigger, list, create, delete, history, health.

use std::{net::IpAddr, sync::Arc, time::Duration};

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
use tracing::{Instrument, Span};

use super::{
    admission::{Refused, address, check_origin, counted},
    yielding::yielding,
};
use crate::{
    Accepted, Code, Refusal, Sender,
    engine::{Engine, Health, draining},
    gate::{AnyRoom, RateLimitKey, Trigger},
    hooks::UntypedCaller,
    hub::{RoomDecl, history as room_history, not_found},
    identity::Principal,
    observe::{Origin, Source, TraceParent, refused, spans},
    session::{
        CreateRoom, HISTORY_LIMITS, ROOM_LIST_LIMITS, Requester, check_depth, check_limit, delete_room,
        invalid,
    },
    store::KeyScope,
    wire::{
        EventSet,
        frame::{Empty, Frame},
    },
};

/// How long a body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The endpoints that belong to no channel.
pub(crate) fn routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new()
        .route("/rooms", yielding(get(rooms).post(create), engine))
        .route("/rooms/{id}", yielding(delete(end), engine))
        .route("/rooms/{room_id}/history", yielding(get(history), engine))
        .route("/rooms/{room_id}/events/{event}", yielding(post(trigger), engine))
}

/// The health check's route, at whatever path the application chose.
pub(crate) fn health_route(path: &str, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new().route(path, yielding(get(health), engine))
}

async fn trigger(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let (parts, mut body) = request.into_parts();
    let outcome = trigger_by(&engine, path, &parts, &mut body).await;
    settled(outcome, body, arrived).await
}

async fn trigger_by(
    engine: &Arc<Engine>,
    path: Result<Path<(String, String)>, PathRejection>,
    parts: &Parts,
    body: &mut Body,
) -> Result<Response, Refused> {
    let headers = &parts.headers;
    check_origin(engine, headers, &parts.uri)?;
    let (caller, subject) = counted(engine, parts).await?;
    let Path((room_id, event)) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    if !is_json(headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let (room, gate) = engine.room(&room_id)?;
    let event = room.event(&event).ok_or_else(|| room.not_carried(&event))?;
    let span = spans::trigger(None, Source::Http, (room.name, &room_id, room.event_name(event)));
    engine.traces.continues(&span, TraceParent::of(headers).as_ref());
    let (by, sent) = ((caller, subject, address(engine, parts)), (headers, body));
    let triggered = trigger_in(engine, (room, gate), (&room_id, event), by, sent, span.clone());
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
    (caller, subject, address): (Principal, Option<RateLimitKey>, Option<IpAddr>),
    (headers, body): (&HeaderMap, &mut Body),
    span: Span,
) -> Result<Accepted, Refusal> {
    let event = room.event_name(index);
    let server = matches!(caller, Principal::Backend);
    if !server && room.events.get(usize::from(index)).is_none_or(|kind| kind.sender == Sender::Server) {
        let message = format!("`{event}` is sent by the server only");
        return Err(Refusal::new(Code::EventNotAllowed, message));
    }
    if let Principal::User(user) = &caller {
        engine.may_join(&UntypedCaller { user: user.clone(), client_id: None }, room, room_id).await?;
    }
    let key = key(headers)?;
    let body = self::body(body, engine.bounds.max_frame_bytes).await?;
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
    check_depth(data, engine.bounds.max_json_depth)?;
    if serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
        return Err(invalid("the body is not JSON"));
    }
    if let Some(subject) = &subject {
        engine.limiter.event(subject, room.index).await?;
    }
    let mut post = Box::new(Trigger {
        registry: Arc::clone(&engine.registry),
        room: Arc::clone(room),
        room_id: room_id.into(),
        event: index,
        from: "system".into(),
        user: None,
        rate_limit_key: subject,
        limiter: Arc::clone(&engine.limiter),
        is_server: server,
        maker: None,
        meta: engine.traces.carry(&origin.span, None),
        idempotency_key: key,
        key_scope: KeyScope::Server,
        origin,
        recipient: None,
        recipient_count: None,
        push: engine.push.clone(),
        connection: None,
        is_submitted: Arc::default(),
    });
    match caller {
        Principal::User(user) => {
            post.from = Arc::clone(&user.id);
            post.maker = Some(engine.maker(&user.id, address));
            post.user = Some(user.clone());
            post.key_scope = if user.is_new { KeyScope::Newcomer } else { KeyScope::User };
            engine.trigger(UntypedCaller { user, client_id: None }, gate, data, post).await
        }
        Principal::Backend => {
            post.from = sender(headers)?;
            engine.admit_event(gate, data, post).await
        }
    }
}

async fn create(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let (parts, mut body) = request.into_parts();
    let outcome = create_by(&engine, &parts, &mut body).await;
    settled(outcome, body, arrived).await
}

async fn create_by(engine: &Arc<Engine>, parts: &Parts, sent: &mut Body) -> Result<Response, Refused> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    let (caller, _) = counted(engine, parts).await?;
    if !is_json(&parts.headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let sent = body(sent, engine.bounds.max_frame_bytes).await?;
    let text = std::str::from_utf8(&sent).map_err(|_| invalid("the body is not UTF-8"))?;
    let creation = CreateRoom::parse(text, &engine.bounds)?;
    as_requester(engine, caller, parts, async |by| creation.execute(engine, by).await).await
}

async fn end(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let (parts, body) = request.into_parts();
    let outcome = end_by(&engine, path, &parts).await;
    settled(outcome, body, arrived).await
}

async fn end_by(
    engine: &Arc<Engine>,
    path: Result<Path<String>, PathRejection>,
    parts: &Parts,
) -> Result<Response, Refused> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    let (caller, _) = counted(engine, parts).await?;
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    as_requester(engine, caller, parts, async |by| delete_room(engine, &room_id, by).await).await
}

/// Makes or ends an instance in the name of the caller.
async fn as_requester(
    engine: &Engine,
    caller: Principal,
    parts: &Parts,
    change: impl AsyncFnOnce(Requester<'_>) -> Result<(), Refusal>,
) -> Result<Response, Refused> {
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    match caller {
        Principal::User(user) => {
            change(Requester::User(&UntypedCaller { user, client_id: None }, address(engine, parts))).await?
        }
        Principal::Backend => change(Requester::Backend(&sender(&parts.headers)?)).await?,
    }
    Ok(answer("ok", Empty {}))
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
    let limit = check_limit(query.limit.unwrap_or(ROOM_LIST_LIMITS.0), ROOM_LIST_LIMITS.1)?;
    Ok(answer("rooms", engine.list(actor.as_ref(), query.after.as_deref(), limit).await?))
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
    let limit = check_limit(query.limit.unwrap_or(HISTORY_LIMITS.0), HISTORY_LIMITS.1)?
        .min(engine.bounds.max_history_events);
    let page = loop {
        // Whoever only reads makes no room.
        let instance = match engine.registry.look_up(&room_id).await? {
            Some(instance) => instance,
            None if room.keyed => return Err(not_found(&room_id).into()),
            None => engine.registry.enter(room, &room_id, None)?,
        };
        match instance.history(query.before, wanted, limit).await {
            // It went just now: the next try makes a new one.
            Err(_) if instance.is_retired() && instance.failure().is_none() => tokio::task::yield_now().await,
            page => break page?,
        }
    };
    Ok(json(room_history(&room_id, &page, None)))
}

async fn health(State(engine): State<Arc<Engine>>) -> Health {
    engine.health()
}

/// The response of `/health`: 200 or 503, with the status as JSON.
impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let status = if self.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(self)).into_response()
    }
}

/// The user that a request is of; the application's own backend is none, and may do everything.
fn actor(caller: Principal) -> Option<UntypedCaller> {
    match caller {
        Principal::User(user) => Some(UntypedCaller { user, client_id: None }),
        Principal::Backend => None,
    }
}

/// Returns the outcome of a request once its body is at its end. A request may be refused before its body was read; HTTP/1.1
/// can then only close the connection, and a client that still sends gets a reset instead of the refusal.
///
/// A body has [`BODY_WITHIN`] from when its request arrived, so that a refusal holds a connection no longer than an acceptance.
pub(super) async fn settled<T>(
    outcome: Result<T, Refused>,
    mut body: Body,
    arrived: Instant,
) -> Result<T, Refused> {
    if outcome.is_err() {
        // The refusal stands whatever becomes of the body.
        let _ = timeout_at(arrived + BODY_WITHIN, read(&mut body, 0)).await;
    }
    outcome
}

/// A body of at most `limit` bytes, that comes in time.
pub(super) async fn body(body: &mut Body, limit: usize) -> Result<Bytes, Refusal> {
    timeout(BODY_WITHIN, read(body, limit)).await.map_err(|_| invalid("the body didn't come in time"))?
}

/// Reads a body of at most `limit` bytes. What is over is read too, for a while: a client that still sends doesn't
/// see the answer.
async fn read(body: &mut Body, limit: usize) -> Result<Bytes, Refusal> {
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

/// The `from` of a backend's event or instance.
fn sender(headers: &HeaderMap) -> Result<Arc<str>, Refusal> {
    const LONGEST: usize = 128;
    let bad = || {
        invalid("`Dialogue-From` is at most 128 bytes of percent-encoded text, without control characters")
    };
    let raw = headers.get("dialogue-from").map_or(&b""[..], HeaderValue::as_bytes);
    let encoded =
        |at: usize| raw.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if raw.iter().enumerate().any(|(at, byte)| *byte == b'%' && !encoded(at)) {
        return Err(bad());
    }
    let from = percent_encoding::percent_decode(raw).decode_utf8().map_err(|_| bad())?;
    match &*from {
        "" => Ok("system".into()),
        from if from.len() > LONGEST || from.chars().any(char::is_control) => Err(bad()),
        from => Ok(from.into()),
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body::Frame;
    use tokio::sync::Notify;

    use super::*;

    #[crate::event]
    struct Message {
        text: String,
    }

    crate::rooms! { struct Acme; project(u64): [Message] via [websocket]; }

    /// Hooks that signal when a room was made, wait for leave, and signal once more.
    #[derive(Clone, Default)]
    struct Clerk {
        made: Arc<Notify>,
        leave: Arc<Notify>,
        noted: Arc<Notify>,
    }

    impl crate::Hooks for Clerk {
        async fn room_created(&self, _: &crate::RoomRef<'_>, _: Option<&str>) {
            self.made.notify_one();
            self.leave.notified().await;
            self.noted.notify_one();
        }
    }

    #[tokio::test]
    async fn a_room_is_announced_though_its_client_goes() {
        let clerk = Clerk::default();
        let server = Acme::server().hooks(clerk.clone()).build().await.expect("a server");
        let request = Request::post("/rooms").header("content-type", "application/json");
        let request = request.body(Body::from(r#"{"roomId":"project:1"}"#)).expect("a request");
        let mut creating = Box::pin(create(State(server.engine()), request));
        tokio::select! {
            _ = &mut creating => panic!("it was answered"),
            () = clerk.made.notified() => {}
        }
        drop(creating);
        clerk.leave.notify_one();
        let noted = deadline::within(Duration::from_secs(10), "the hook ends", clerk.noted.notified());
        assert!(noted.await.is_ok());
        assert!(server.engine().registry.find("project:1").is_some());
    }

    /// A body of which nothing comes.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_backend_says_in_percent_encoding_for_whom_it_speaks() {
        let from = |value: &[u8]| {
            let value = HeaderValue::from_bytes(value).expect("a header");
            sender(&HeaderMap::from_iter([(http::HeaderName::from_static("dialogue-from"), value)])).ok()
        };
        assert_eq!(sender(&HeaderMap::new()).ok().as_deref(), Some("system"));
        for (value, expected) in [
            ("", "system"),
            ("billing", "billing"),
            ("J%C3%BCrgen%20M", "Jürgen M"),
            ("100%25", "100%"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(from(value.as_bytes()).as_deref(), Some(expected), "{value}");
        }
        assert_eq!(from("Jürgen".as_bytes()).as_deref(), Some("Jürgen"));
        assert_eq!(from("%41".repeat(128).as_bytes()).as_deref(), Some(&*"A".repeat(128)));
        for value in ["%", "%4", "%zz", "a%2", "%C3", "%FF", "%0A", "a%00", "%C2%85", "%7f", "%+1"] {
            assert_eq!(from(value.as_bytes()), None, "{value}");
        }
        assert_eq!(from("%41".repeat(129).as_bytes()), None);
        assert_eq!((from(b"\xc3"), from(b"a\tb")), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_waited_for_once() {
        let arrived = Instant::now();
        let mut sent = Body::new(Silent);
        let late = body(&mut sent, 100).await.map_err(Refused);
        assert!(settled(late, sent, arrived).await.is_err());
        let waited = arrived.elapsed();
        assert!(waited < BODY_WITHIN + Duration::from_secs(1), "{waited:?}");
    }
}
