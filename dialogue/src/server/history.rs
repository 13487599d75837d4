//! Pages of a room's history for server code.

use std::{
    borrow::Cow,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{RoomHandle, handle::RoomTarget};
use crate::{
    Delivery, Refusal, Room,
    event::Unreadable,
    live::LiveRoom,
    log::{Record, RecordPage},
    room::{EventOf, ServerRoom},
    store::{Order, Query},
    wire::{EventSet, frame},
};

/// A request for a page of a room's history, from [`RoomHandle::history`]. It is sent when it is awaited. The newest
/// events come first by default.
///
/// ```
/// # #[dialogue::event] pub struct Message { pub text: String }
/// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = Acme::server().build().await?;
/// for n in 1..=30 {
///     server.chat().trigger(Message { text: format!("{n}") }).await?;
/// }
/// let mut page = server.chat().history().limit(20).await?;
/// let mut seen = page.events.len();
/// while let Some(next) = page.next {
///     page = server.chat().history().limit(20).before(next).await?;
///     seen += page.events.len();
/// }
/// assert_eq!(seen, 30);
/// # Ok(()) }
/// ```
#[must_use = "nothing is read until it is awaited"]
pub struct History<R: ServerRoom> {
    room: RoomHandle<R>,
    query: Query,
    only: Option<&'static str>,
}

/// A page of a room's history.
#[non_exhaustive]
pub struct HistoryPage<R: Room> {
    /// The events, in the requested order.
    pub events: Vec<Delivery<R::Event>>,
    /// The events of the page whose payloads no longer decode as their types, in the same order: older events of a type
    /// that has changed since.
    pub unreadable: Vec<Unreadable>,
    /// The cursor of the next page, if there may be one: pass it to [`History::before`], or to [`History::after`] if
    /// the oldest come first.
    pub next: Option<u64>,
}

/// The default number of events of a page.
const DEFAULT_LIMIT: usize = 50;

impl<R: ServerRoom> RoomHandle<R> {
    /// Returns a request for a page of the room's history.
    pub fn history(&self) -> History<R> {
        let query = Query::new(Order::NewestFirst, DEFAULT_LIMIT);
        History { room: self.clone(), query, only: None }
    }

    /// Returns the live room, opened if necessary.
    ///
    /// # Errors
    ///
    /// The room's key is invalid, or the room can't be opened now.
    pub(super) fn instance(&self) -> Result<std::sync::Arc<LiveRoom>, Refusal> {
        let RoomTarget { room, room_id } = self.target()?;
        self.engine().registry.find_or_open(room, room_id, None)
    }
}

impl<R: ServerRoom> History<R> {
    /// Selects only events of type `E`.
    pub fn only<E: EventOf<R>>(mut self) -> Self {
        self.only = Some(E::NAME);
        self
    }

    /// Selects only events before this sequence number.
    pub fn before(mut self, seq: u64) -> Self {
        self.query.before = Some(seq);
        self
    }

    /// Selects only events after this sequence number.
    pub fn after(mut self, seq: u64) -> Self {
        self.query.after = Some(seq);
        self
    }

    /// Selects only events at or after this time.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.query.since = Some(millis(time));
        self
    }

    /// Selects only events before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.query.until = Some(millis(time));
        self
    }

    /// Returns the oldest events first.
    pub fn oldest_first(mut self) -> Self {
        self.query.order = Order::OldestFirst;
        self
    }

    /// Sets the maximum number of events, 50 by default. A page holds fewer if events are large (256 KiB together), or
    /// if few of the scanned events match. It is empty only if there are no more, or after 10 s of scanning.
    pub fn limit(mut self, events: usize) -> Self {
        self.query.limit = events;
        self
    }

    async fn page(self) -> Result<HistoryPage<R>, Refusal> {
        let instance = self.room.instance()?;
        let wanted = match self.only {
            Some(name) => instance.room.events_named([name])?,
            None => EventSet::ALL,
        };
        let RecordPage { records, next } = instance.find(self.query, wanted).await?;
        let (mut events, mut unreadable) = (Vec::with_capacity(records.len()), Vec::new());
        for record in &records {
            match decode::<R>(record) {
                Some(Ok(delivery)) => events.push(delivery),
                Some(Err(event)) => unreadable.push(event),
                None => {}
            }
        }
        Ok(HistoryPage { events, unreadable, next })
    }
}

/// Decodes an event of the room, or returns `None` if the room doesn't declare it. An event that no longer decodes as
/// its type is also logged. An unreadable `meta` is left out.
fn decode<R: Room>(record: &Record) -> Option<Result<Delivery<R::Event>, Unreadable>> {
    let row = record.event.entry_of(R::EVENTS)?;
    let decoded = serde_json::from_slice::<frame::Event<'static>>(&record.json).and_then(|frame| {
        let event = (row.decode)(&frame.data.0)?;
        let frame::Event { room_id, from, timestamp, event_id, seq, server, meta, .. } = frame;
        let [room_id, from, event_id] = [room_id, from, event_id].map(Cow::into_owned);
        let meta = meta.and_then(|meta| serde_json::from_str(&meta.0).ok());
        Ok(Delivery { event, room_id, from, timestamp, event_id, seq, server, meta })
    });
    let unreadable = |error: &serde_json::Error| {
        tracing::error!(event = row.kind.name, seq = record.seq, %error, "can't decode an old event as its current type");
    };
    let decoded = decoded.inspect_err(unreadable);
    Some(decoded.map_err(|error| Unreadable::of(str::from_utf8(&record.json).unwrap_or_default(), &error)))
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl<R: ServerRoom> IntoFuture for History<R> {
    type Output = Result<HistoryPage<R>, Refusal>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.page())
    }
}

impl<R: ServerRoom> fmt::Debug for History<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("room", &self.room)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

impl<R: Room> fmt::Debug for HistoryPage<R>
where
    R::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryPage")
            .field("events", &self.events)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_before_1970_are_clamped_to_it() {
        assert_eq!(millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
