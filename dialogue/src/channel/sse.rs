//! Rooms over Server-Sent Events (WHATWG HTML, section 9.2).

mod keeper;
mod passing;
mod query;
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

use super::admission::{Refused, address, check_origin, enter, unauthenticated, user};
use crate::{
    Channel, Refusal,
    engine::{Engine, draining},
    gate::RateLimitKey,
    hooks::UntypedCaller,
    hub::{DELETED, Outbox, not_found},
    identity::{Expiry, expired},
    observe::{Source, TraceParent},
    session::{JoinOutcome, JoinRequest, NewConnection, Session},
    wire::{Encoding, stream_position},
};
use passing::passing;
use query::Query;
use stream::Stream;

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
];

/// The stream's route, at whatever path the application chose.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    let handler: MethodRouter<Arc<Engine>> = get(open).head(probe);
    Router::new().route(path, handler)
}

/// Answers `HEAD` as `GET` is answered or refused, without opening a stream: it enters no room.
async fn probe(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, Refused> {
    check_origin(&engine, &parts.headers, &parts.uri)?;
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    let address = address(&engine, &parts);
    let user = user(&engine, &parts, None).await?.ok_or_else(unauthenticated)?;
    engine.limiter.http(&RateLimitKey::of_user(&user, address)).await?;
    let query = Query::parse(query.as_deref().unwrap_or_default(), &parts.headers)?;
    let actor = UntypedCaller { user, client_id: None };
    let mut rooms = Vec::new();
    for room_id in &query.rooms {
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&Channel::Sse) {
            return Err(not_found(room_id).into());
        }
        engine.may_join(&actor, room, room_id).await?;
        rooms.push(room);
    }
    query.wanted(&rooms, engine.bounds.max_subscribed_events)?;
    Ok(HEADERS.into_response())
}

async fn open(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, Refused> {
    let opened = stream(&engine, query.as_deref().unwrap_or_default(), &parts).await;
    opened.or_else(|refusal| passing(&engine, &parts.headers, &refusal).ok_or(Refused(refusal)))
}

async fn stream(engine: &Arc<Engine>, query: &str, parts: &Parts) -> Result<Response, Refusal> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    // A request that asks for no stream uses up nothing of its address's connects.
    let query = Query::parse(query, &parts.headers)?;
    let (address, visit) = enter(engine, parts)?;
    let user = user(engine, parts, None).await?.ok_or_else(unauthenticated)?;
    engine.limiter.request(&RateLimitKey::of_user(&user, address)).await?;
    let counted = engine.admit(visit)?;
    let wanted = query.rooms.iter().map(|room_id| engine.room(room_id).map(|(room, _)| room));
    let wanted =
        query.wanted(&wanted.collect::<Result<Vec<_>, _>>()?, engine.bounds.max_subscribed_events)?;

    // A stream that breaks off before a room's first event goes on from where that room was.
    let positions = query.rooms.iter().map(|room_id| {
        let since = query.since(room_id);
        since.map(|at| stream_position(room_id, &at.epoch, at.seq, &at.event_id)).unwrap_or_default().into()
    });
    let positions = positions.collect();
    let outbox =
        Outbox::new(engine.connection_id(), Encoding::Sse, engine.bounds.max_outbox_bytes, None, positions);
    outbox.send_raw([Stream::opening()]);
    let mut session = Session::new(
        Arc::clone(engine),
        Arc::clone(&outbox),
        NewConnection { source: Source::Sse, address, parent: TraceParent::of(&parts.headers) },
    );
    let span = session.span();
    let entering = async {
        session.identify(user).await?;
        let mut deleted = Vec::new();
        for (slot, (room_id, wanted)) in (0..).zip(query.rooms.iter().zip(wanted)) {
            let since = query.since(room_id).cloned();
            let entry = JoinRequest { filter: wanted, since, slot, id: None };
            match session.join_unless_deleted(room_id, Channel::Sse, entry).await? {
                JoinOutcome::Joined => {}
                JoinOutcome::RoomDeleted => deleted.push(room_id),
            }
        }
        match deleted.first() {
            // It would end at once, and be opened again: a status tells a browser not to.
            Some(first) if deleted.len() == query.rooms.len() => {
                return Err(Refusal { message: DELETED.into(), ..not_found(first) });
            }
            _ => deleted.iter().for_each(|room_id| session.send_room_deleted(room_id)),
        }
        Ok::<_, Refusal>(())
    };
    entering.instrument(span).await?;
    // Hooks may have taken long.
    if session.expires().is_some_and(Expiry::has_passed) {
        return Err(expired());
    }
    session.open();
    let body = Body::new(Stream::new(engine, outbox, session, counted));
    Ok((HEADERS, body).into_response())
}
