//! Rooms over Server-Sent Events ([WHATWG HTML, section
//! 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)): one GET request joins up to 16 rooms, and its
//! response is their event stream.

mod query;
mod retry_response;
mod session_task;
mod stream;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName},
    request::Parts,
};
use tracing::Instrument;

use super::admission::{
    RefusalResponse, address, admit_connection, authenticate_user, check_origin, token_required,
};
use crate::{
    Code, Refusal,
    drain::draining,
    engine::Engine,
    hooks::UntypedCaller,
    identity::{Expiry, expired},
    limits::RateLimitKey,
    live::{DELETED_REASON, JoinOptions, JoinOutcome, Outbox, StreamSlot, not_found},
    observe::{Source, TraceParent},
    room::Channel,
    session::{NewConnection, Session},
    wire::{Encoding, stream_position},
};
use query::StreamQuery;
use retry_response::retry_response;
use stream::SseBody;

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// Returns the route of event streams, at the path that the application has set.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    let handler: MethodRouter<Arc<Engine>> = get(open).head(probe);
    Router::new().route(path, handler)
}

/// Answers `HEAD` with the status that `GET` would have, without opening a stream or joining a room.
async fn probe(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, RefusalResponse> {
    check_origin(&engine, &parts.headers, &parts.uri)?;
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    let address = address(&engine, &parts);
    let user = authenticate_user(&engine, &parts, None).await?.ok_or_else(token_required)?;
    engine.admission.limiter.http(&RateLimitKey::of_user(&user.id, address)).await?;
    let query = StreamQuery::parse(query.as_deref().unwrap_or_default(), &parts.headers)?;
    let actor = UntypedCaller { user, client_id: None };
    let mut rooms = Vec::new();
    for room_id in &query.rooms {
        let room = engine.room(room_id)?;
        if !room.channels.contains(&Channel::Sse) {
            return Err(not_found(room_id).into());
        }
        engine.admission.access.may_join(&actor, room, room_id).await?;
        rooms.push(room);
    }
    query.events_by_room(&rooms, engine.bounds.requests.max_subscribed_events)?;
    Ok(HEADERS.into_response())
}

async fn open(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, RefusalResponse> {
    let opened = open_stream(&engine, query.as_deref().unwrap_or_default(), &parts).await;
    opened
        .or_else(|refusal| retry_response(&engine, &parts.headers, &refusal).ok_or(RefusalResponse(refusal)))
}

async fn open_stream(engine: &Arc<Engine>, query: &str, parts: &Parts) -> Result<Response, Refusal> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    // Before admission: an invalid request doesn't count against the connection rate of its address.
    let query = StreamQuery::parse(query, &parts.headers)?;
    let (address, slot) = admit_connection(engine, parts)?;
    let user = authenticate_user(engine, parts, None).await?.ok_or_else(token_required)?;
    engine.admission.limiter.request(&RateLimitKey::of_user(&user.id, address)).await?;
    let guard = engine.drain.admit_connection(slot)?;
    let rooms = query.rooms.iter().map(|room_id| engine.room(room_id));
    let wanted = query.events_by_room(
        &rooms.collect::<Result<Vec<_>, _>>()?,
        engine.bounds.requests.max_subscribed_events,
    )?;

    // The ids of the stream's events name the position of every room, also of those without an event in this stream.
    let positions = query.rooms.iter().map(|room_id| {
        let since = query.since(room_id);
        since.map(|at| stream_position(room_id, &at.epoch, at.seq, &at.event_id)).unwrap_or_default().into()
    });
    let positions = positions.collect();
    let outbox = Outbox::new(
        engine.connection_id(),
        Encoding::Sse,
        engine.bounds.connections.max_outbox_bytes,
        None,
        positions,
    );
    outbox.send_raw([SseBody::opening()]);
    let mut session = Session::new(
        Arc::clone(engine),
        Arc::clone(&outbox),
        NewConnection { source: Source::Sse, address, parent: TraceParent::from_headers(&parts.headers) },
    );
    let span = session.span();
    let entering = async {
        session.identify(user).await?;
        let mut deleted = Vec::new();
        for (slot, (room_id, wanted)) in StreamSlot::all().zip(query.rooms.iter().zip(wanted)) {
            let since = query.since(room_id).cloned();
            let entry = JoinOptions { filter: wanted, since, slot, id: None };
            match session.join_unless_deleted(room_id, Channel::Sse, entry).await? {
                JoinOutcome::Joined { .. } => {}
                JoinOutcome::RoomDeleted => deleted.push(room_id),
            }
        }
        match deleted.first() {
            // All rooms are deleted. The stream would end at once, and browsers reconnect after that; they don't after
            // a 404.
            Some(_) if deleted.len() == query.rooms.len() => {
                return Err(Refusal::new(Code::RoomNotFound, DELETED_REASON));
            }
            _ => deleted.iter().for_each(|room_id| session.send_room_deleted(room_id)),
        }
        Ok::<_, Refusal>(())
    };
    entering.instrument(span).await?;
    // The token may have expired while hooks ran.
    if session.expires().is_some_and(Expiry::has_passed) {
        return Err(expired());
    }
    session.open();
    let body = Body::new(SseBody::new(engine, outbox, session, guard));
    Ok((HEADERS, body).into_response())
}
