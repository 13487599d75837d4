//! The tail of a room: an event stream of its events from now on, for operators.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Method,
    header::{CACHE_CONTROL, CONTENT_TYPE},
    request::Parts,
};
use tokio::time::sleep;

use super::{super::admission::RefusalResponse, require_server_key};
use crate::{
    drain::draining,
    engine::Engine,
    live::{ConnectionId, Listener, ListenerReceiver, LiveRoom, RoomChange, not_found},
    log::Record,
    session::invalid,
    wire::EventSet,
};

/// The interval of keep-alive comments.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A listener of the room that is not a member, and so not in its presence.
struct TailListener {
    id: ConnectionId,
    instance: Weak<LiveRoom>,
    records: ListenerReceiver,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(super) async fn tail(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, RefusalResponse> {
    require_server_key(&engine, &parts).await?;
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    // A tail doesn't create a room.
    let instance = engine.registry.find(&room_id).ok_or_else(|| not_found(&room_id))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    if parts.method == Method::HEAD {
        return Ok(headers.into_response());
    }
    let id = engine.connection_id();
    let (listener, records) = Listener::new(id);
    let draining = Box::pin(engine.drain.started());
    let tail = TailListener { id, instance: Arc::downgrade(&instance), records, draining };
    instance.enqueue(RoomChange::Listen(listener, EventSet::ALL));
    let lines = stream::unfold(tail, |mut tail| async {
        let line = tail.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), tail))
    });
    Ok((headers, Body::from_stream(lines)).into_response())
}

impl TailListener {
    /// Returns the next line, or `None` once the room has closed or the node drains.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            record = self.records.next(&self.instance) => record.map(|record| line(&record)),
            () = &mut self.draining => None,
            () = sleep(KEEP_ALIVE_INTERVAL) => Some(Bytes::from_static(b": alive\n\n")),
        }
    }
}

impl Drop for TailListener {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.enqueue(RoomChange::Unlisten(self.id));
        }
    }
}

fn line(record: &Record) -> Bytes {
    [b"data: ", &*record.json, b"\n\n"].concat().into()
}
