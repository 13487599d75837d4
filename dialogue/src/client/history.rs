//! Pages of a room's history, read over the WebSocket or over HTTP, depending on the room's channel.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
};

use tokio::time::{Instant, timeout};

use super::{
    Client,
    core::{Reply, RetryClass, response_error},
    error::{Error, ErrorKind},
    frame::{next_before, read_events},
    room::{Route, read},
    transport::{encode, http::get},
};
use crate::{
    event::{Delivery, Unreadable},
    room::{EventOf, Room},
    wire::{frame, request::GetHistory},
};

/// A request for a page of a room's history, newest event first, sent when awaited.
///
/// ```no_run
/// # use dialogue::{Room, client::{Error, RoomClient}};
/// # async fn run<R: Room>(chat: RoomClient<R>) -> Result<(), Error> {
/// let mut page = chat.history().limit(100).await?;
/// while let Some(before) = page.older() {
///     // … `page.events` …
///     page = chat.history().limit(100).before(before).await?;
/// }
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until it is awaited"]
pub struct History<'a, R> {
    client: &'a Client,
    room: &'a Arc<str>,
    route: Route,
    event: Option<&'static str>,
    before: Option<u64>,
    limit: Option<u32>,
    marker: PhantomData<fn() -> R>,
}

impl<'a, R: Room> History<'a, R> {
    pub(crate) fn new(client: &'a Client, room: &'a Arc<str>, route: Route) -> Self {
        History { client, room, route, event: None, before: None, limit: None, marker: PhantomData }
    }

    /// Selects only events of type `E`.
    pub fn only<E: EventOf<R>>(mut self) -> Self {
        self.event = Some(E::NAME);
        self
    }

    /// Selects only events whose `seq` is less than `seq`.
    pub fn before(mut self, seq: u64) -> Self {
        self.before = Some(seq);
        self
    }

    /// Bounds the events of the page, 1 to 200: 50 by default.
    pub fn limit(mut self, events: u32) -> Self {
        self.limit = Some(events);
        self
    }

    async fn page(mut self) -> Result<Page<R>, Error> {
        let deadline = Instant::now() + self.client.deadline();
        let (frame, next) = loop {
            let frame = match self.route {
                Route::Socket => self.by_socket().await?,
                Route::Stream => {
                    timeout(self.client.deadline(), self.by_http()).await.unwrap_or_else(|_| {
                        Err(Error::new(ErrorKind::Deadline, "the server did not respond before the deadline"))
                    })?
                }
            };
            // The server scans a bounded number of events for one page, and may find no match among them.
            match next_before(&frame) {
                Some(before) if read_events(&frame).len() == 0 && Instant::now() < deadline => {
                    self.before = Some(before);
                }
                next => break (frame, next),
            }
        };
        let (events, unreadable) = (Vec::with_capacity(read_events(&frame).len()), Vec::new());
        let mut page = Page { events, more: next.is_some(), unknown: 0, unreadable, next };
        for event_frame in read_events(&frame) {
            match event_frame.and_then(read::<R>) {
                Ok(Some(delivery)) => page.events.push(delivery),
                Ok(None) => page.unknown += 1,
                Err(unreadable) => page.unreadable.push(*unreadable),
            }
        }
        Ok(page)
    }

    async fn by_socket(&self) -> Result<frame::History<'static>, Error> {
        let request = GetHistory {
            room_id: self.room.to_string().into(),
            event: self.event.map(Into::into),
            before: self.before,
            limit: self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        };
        match self.client.ask(Some(self.room.clone()), RetryClass::Idempotent, request).await? {
            Reply::History(frame) => Ok(frame),
            _ => Err(Error::new(ErrorKind::Decode, "the server sent a response of another type")),
        }
    }

    async fn by_http(&self) -> Result<frame::History<'static>, Error> {
        let mut target = format!("/rooms/{}/history?", encode(self.room));
        let before = self.before.map(|seq| format!("before={seq}&"));
        let limit = self.limit.map(|limit| format!("limit={limit}&"));
        let event = self.event.map(|event| format!("event={}", encode(event)));
        target.extend([before, limit, event].into_iter().flatten());
        let endpoint = &self.client.shared.endpoint;
        let response = get(&endpoint.address, &target, endpoint.headers().await?).await?;
        if !response.status.is_success() {
            let status = response.status.as_u16();
            return Err(response_error(status, response.refusal().await));
        }
        serde_json::from_slice(&response.body().await?)
            .map_err(|error| Error::caused(ErrorKind::Decode, "read the history", error))
    }
}

impl<'a, R: Room> IntoFuture for History<'a, R> {
    type Output = Result<Page<R>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.page())
    }
}

impl<R> fmt::Debug for History<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History")
            .field("room", &self.room)
            .field("event", &self.event)
            .field("before", &self.before)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A page of a room's history.
#[non_exhaustive]
pub struct Page<R: Room> {
    /// The events, newest first.
    pub events: Vec<Delivery<R::Event>>,
    /// True if the room retains older events.
    pub more: bool,
    /// The number of events that were left out because this program does not declare their name.
    pub unknown: u64,
    /// The events of the page that could not be read as declared, in the page's order.
    pub unreadable: Vec<Unreadable>,
    next: Option<u64>,
}

impl<R: Room> Page<R> {
    /// Returns the argument of [`History::before`] for the page of older events; `None` on the last page.
    pub fn older(&self) -> Option<u64> {
        self.next
    }
}

impl<R: Room> fmt::Debug for Page<R>
where
    R::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("events", &self.events).field("more", &self.more).finish_non_exhaustive()
    }
}
