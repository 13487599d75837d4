//! Rooms over Server-Sent Events (WHATWG HTML, section 9.2).

mod keeper;
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

use super::admission::{Refused, address, check_origin, unauthenticated, user};
use crate::{
    Channel, Refusal,
    engine::Engine,
    gate::Subject,
    hub::Outbox,
    observe::{Source, TraceParent},
    session::{Entrance, Entry, Session},
    wire::{Encoding, stream_position},
};
use query::Query;
use stream::Stream;

/// The stream's route, at whatever path the application chose.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    let handler: MethodRouter<Arc<Engine>> = get(open);
    Router::new().route(path, handler)
}

async fn open(
    State(engine): State<Arc<Engine>>,
    RawQuery(query): RawQuery,
    parts: Parts,
) -> Result<Response, Refused> {
    check_origin(&engine, &parts.headers, &parts.uri)?;
    let address = address(&engine, &parts);
    let visit = engine.doors.enter(address)?;
    let user = user(&engine, &parts, None).await?.ok_or_else(unauthenticated)?;
    engine.limiter.request(&Subject::of(&user, address)).await?;
    let counted = engine.admit(visit)?;
    let query = Query::parse(query.as_deref().unwrap_or_default(), &parts.headers)?;
    let wanted = query.rooms.iter().map(|room_id| engine.room(room_id).map(|(room, _)| room));
    let wanted = query.wanted(&wanted.collect::<Result<Vec<_>, _>>()?, engine.limits.subscriptions)?;

    // A stream that breaks off before a room's first event goes on from where that room was.
    let positions = query.rooms.iter().map(|room_id| {
        let since = query.since(room_id);
        since.map(|at| stream_position(room_id, &at.epoch, at.seq, &at.event_id)).unwrap_or_default().into()
    });
    let positions = positions.collect();
    let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, engine.limits.outbox, None, positions);
    outbox.send_raw(Stream::opening());
    let mut session = Session::new(
        Arc::clone(&engine),
        Arc::clone(&outbox),
        Entrance { source: Source::Sse, address, parent: TraceParent::of(&parts.headers) },
    );
    let span = session.span();
    let entering = async {
        session.identify(user).await?;
        for (slot, (room_id, wanted)) in (0..).zip(query.rooms.iter().zip(wanted)) {
            let since = query.since(room_id).cloned();
            session.join(room_id, Channel::Sse, Entry { wanted, since, slot, id: None }).await?;
        }
        Ok::<_, Refusal>(())
    };
    entering.instrument(span).await?;
    session.open();
    let body = Body::new(Stream::new(&engine, outbox, session, counted));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}
