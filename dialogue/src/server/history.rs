//! A room's past, for server code.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RoomHandle, handle::Place};
use crate::{
    Delivery, EventOf, Refusal, Room, ServerRoom, Unreadable,
    hub::Instance,
    log::Record,
    store::{Order, Query},
    wire::EventSet,
};

/// Asks for a page of a room's past: [`RoomHandle::history`]. Newest first, unless it says otherwise; await it.
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

/// A page of a room's past.
#[non_exhaustive]
pub struct HistoryPage<R: Room> {
    /// The events, in the order that was asked for.
    pub events: Vec<Delivery<R::Event>>,
    /// The events of the page that their types no longer read, in the same order: older ones, of a type that has changed
    /// since.
    pub unreadable: Vec<Unreadable>,
    /// If there may be more: what to show to [`History::before`] for the next page, or to [`History::after`] when the
    /// oldest come first.
    pub next: Option<u64>,
}

/// Events of a page, unless said.
const LIMIT: usize = 50;

impl<R: ServerRoom> RoomHandle<R> {
    /// Asks for a page of the room's past.
    pub fn history(&self) -> History<R> {
        let query = Query::new(Order::NewestFirst, LIMIT);
        History { room: self.clone(), query, only: None }
    }

    /// The instance that there is.
    ///
    /// # Errors
    ///
    /// It can't be one, or not now.
    pub(super) fn instance(&self) -> Result<std::sync::Arc<Instance>, Refusal> {
        let Place { room, room_id } = self.place()?;
        self.engine().registry.enter(room, room_id, None)
    }
}

impl<R: ServerRoom> History<R> {
    /// Only events `E`.
    pub fn only<E: EventOf<R>>(mut self) -> Self {
        self.only = Some(E::NAME);
        self
    }

    /// Only events before this number.
    pub fn before(mut self, seq: u64) -> Self {
        self.query.before = Some(seq);
        self
    }

    /// Only events after this number.
    pub fn after(mut self, seq: u64) -> Self {
        self.query.after = Some(seq);
        self
    }

    /// Only events from this time on.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.query.since = Some(millis(time));
        self
    }

    /// Only events from before this time.
    pub fn until(mut self, time: SystemTime) -> Self {
        self.query.until = Some(millis(time));
        self
    }

    /// The oldest first.
    pub fn oldest_first(mut self) -> Self {
        self.query.order = Order::OldestFirst;
        self
    }

    /// At most so many: 50 unless said. A page holds fewer where events are large (256 KiB together), or rare among the
    /// others; it is empty only where there are no more, or after 10 s.
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
        let (records, next) = instance.find(self.query, wanted).await?;
        let (mut events, mut unreadable) = (Vec::with_capacity(records.len()), Vec::new());
        for record in &records {
            match decode::<R>(record) {
                Some(Ok(delivery)) => events.push(delivery),
                Some(Err(why)) => unreadable.push(why),
                None => {}
            }
        }
        Ok(HistoryPage { events, unreadable, next })
    }
}

/// What an `event` frame says beside its payload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    room_id: String,
    #[serde(borrow)]
    data: &'a RawValue,
    from: String,
    timestamp: u64,
    event_id: String,
    seq: Option<u64>,
    #[serde(default)]
    server: bool,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// `None` for an event that the room doesn't declare. One that its type no longer reads is in the program's log too; a
/// `meta` that can't be read hides no event, and is left out.
fn decode<R: Room>(record: &Record) -> Option<Result<Delivery<R::Event>, Unreadable>> {
    let row = R::EVENTS.get(usize::from(record.event))?;
    let decoded = serde_json::from_slice::<Frame<'_>>(&record.json).and_then(|frame| {
        let event = (row.decode)(frame.data.get())?;
        let Frame { room_id, from, timestamp, event_id, seq, server, meta, .. } = frame;
        let meta = meta.and_then(|meta| serde_json::from_str(meta.get()).ok());
        Ok(Delivery { event, room_id, from, timestamp, event_id, seq, server, meta })
    });
    let unreadable = |error: &serde_json::Error| {
        tracing::error!(event = row.kind.name, seq = record.seq, %error, "an old event is no longer readable");
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
    fn times_before_1970_are_its_beginning() {
        assert_eq!(millis(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
