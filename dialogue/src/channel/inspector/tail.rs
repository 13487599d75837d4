//! A room's events as they happen.

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

use super::{super::admission::Refused, admit};
use crate::{
    engine::{Engine, draining},
    hub::{ConnectionId, Listener, ListenerReceiver, LiveRoom, not_found},
    log::Record,
    session::invalid,
    wire::EventSet,
};

/// How often a comment says that the stream lives.
const ALIVE: Duration = Duration::from_secs(15);

/// Who looks on: no member of the room, which isn't told.
struct Onlooker {
    id: ConnectionId,
    instance: Weak<LiveRoom>,
    heard: ListenerReceiver,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
}

pub(super) async fn tail(
    State(engine): State<Arc<Engine>>,
    path: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<Response, Refused> {
    admit(&engine, &parts).await?;
    if engine.drain.is_on() {
        return Err(draining().into());
    }
    let Path(room_id) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    // Whoever only looks makes no room.
    let instance = engine.registry.find(&room_id).ok_or_else(|| not_found(&room_id))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    if parts.method == Method::HEAD {
        return Ok(headers.into_response());
    }
    let id = engine.connection_id();
    let (listener, heard) = Listener::new(id);
    let draining = Box::pin(engine.drain.started());
    let onlooker = Onlooker { id, instance: Arc::downgrade(&instance), heard, draining };
    instance.enqueue(move |state| state.listen(listener, EventSet::ALL));
    let lines = stream::unfold(onlooker, |mut onlooker| async {
        let line = onlooker.next().await?;
        Some((Ok::<_, std::convert::Infallible>(line), onlooker))
    });
    Ok((headers, Body::from_stream(lines)).into_response())
}

impl Onlooker {
    /// The next line; `None` once the room is no more, or the instance drains.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            record = self.heard.next(&self.instance) => record.map(|record| line(&record)),
            () = &mut self.draining => None,
            () = sleep(ALIVE) => Some(Bytes::from_static(b": alive\n\n")),
        }
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        let id = self.id;
        if let Some(instance) = self.instance.upgrade() {
            instance.enqueue(move |state| _ = state.leave(id));
        }
    }
}

fn line(record: &Record) -> Bytes {
    [b"data: ", &*record.json, b"\n\n"].concat().into()
}
