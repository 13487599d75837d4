//! A joined room: the reader of its events, and the handle that sends into it.

use std::{borrow::Cow, fmt, future::poll_fn, marker::PhantomData, sync::Arc};

use super::{
    Client,
    core::{BufferedItem, Reply, RetryClass, offline, queue_full},
    driver::{Command, ReplySlot},
    error::{Error, ErrorKind},
    history::History,
    incoming::{Incoming, Interruption, Joined},
    join::Reader,
    request::Request,
    status::Status,
};
use crate::{
    event::{ClientEvent, Delivery, DeliveryClass, Sending, Unreadable},
    room::{EventOf, Room, TwoWay, Via, channel},
    wire::{
        Position, frame,
        request::{GetMembers, Raw, Subscribe, Text, Trigger, Unsubscribe},
    },
};

/// A joined room: reads the room's events in order, and sends into it.
///
/// Dropping it leaves the room. Until then, the client rejoins the room after every lost connection and resumes after
/// the last event.
pub struct RoomClient<R: Room> {
    sender: RoomSender<R>,
    route: Route,
    reader: Reader,
    joined: Joined,
    unknown: u64,
}

/// The connection that a room's events arrive on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Socket,
    Stream,
}

impl<R: Room> RoomClient<R> {
    pub(crate) fn new(client: Client, room: Arc<str>, route: Route, reader: Reader, joined: Joined) -> Self {
        let sender = RoomSender { client, room, marker: PhantomData };
        RoomClient { sender, route, reader, joined, unknown: 0 }
    }

    /// Returns the room's id: its name, or for a keyed room `name:key`.
    pub fn id(&self) -> &str {
        &self.sender.room
    }

    /// Returns the outcome of the first join.
    pub fn joined(&self) -> &Joined {
        &self.joined
    }

    /// Returns the next event; `None` after [`Client::close`], or after an interruption that ends the room.
    ///
    /// A break in the sequence of events is an error, so that a loop can't overlook it: `?` ends the loop after a lost
    /// resume, and a `match` lets the application reload its state and call `next` again.
    ///
    /// ```no_run
    /// # use dialogue::{Room, client::{Interruption, RoomClient}};
    /// # async fn run<R: Room>(mut chat: RoomClient<R>) -> Result<(), Interruption> {
    /// loop {
    ///     match chat.next().await {
    ///         Ok(Some(delivery)) => { /* … */ }
    ///         Ok(None) => break,
    ///         Err(Interruption::Lost(_)) => { /* state derived from earlier events is stale: reload it */ }
    ///         Err(other) => return Err(other),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// An [`Interruption`]; its variants document which are final.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event that was not returned is returned by the next call.
    pub async fn next(&mut self) -> Result<Option<Delivery<R::Event>>, Interruption> {
        loop {
            match self.incoming().await? {
                Some(Incoming::Event(delivery) | Incoming::History(delivery)) => return Ok(Some(delivery)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Returns the next event or notice: like [`next`](RoomClient::next), and also presence, skipped events and
    /// rejoins.
    ///
    /// # Errors
    ///
    /// As [`next`](RoomClient::next).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an item that was not returned is returned by the next call.
    pub async fn incoming(&mut self) -> Result<Option<Incoming<R>>, Interruption> {
        loop {
            let item = poll_fn(|cx| self.reader.buffer.poll_take(cx)).await?;
            if self.reader.buffer.needs_wake() {
                self.reader.wake.notify_one();
            }
            let incoming = match item {
                None => return Ok(None),
                Some(BufferedItem::Lost(lost)) => return Err(Interruption::Lost(lost)),
                Some(BufferedItem::Rejoined(joined)) => Incoming::Rejoined(joined),
                Some(BufferedItem::Presence(presence)) => Incoming::Presence(presence),
                Some(BufferedItem::Skipped(count)) => Incoming::Skipped(count),
                Some(BufferedItem::Unreadable(unreadable, _)) => return Err(unreadable.into()),
                Some(BufferedItem::Event(event_frame)) => match self.read(event_frame)? {
                    Some(delivery) => Incoming::Event(delivery),
                    None => continue,
                },
                Some(BufferedItem::History(event_frame, _)) => match self.read(event_frame)? {
                    Some(delivery) => Incoming::History(delivery),
                    None => continue,
                },
            };
            return Ok(Some(incoming));
        }
    }

    /// Returns the position after the last event that was taken. An application that stores it together with the state
    /// derived from the events can pass it to [`JoinRoom::since`](super::JoinRoom::since) after a restart.
    pub fn position(&self) -> Position {
        self.reader.buffer.position()
    }

    /// Returns the number of events that were left out because this program does not declare their name, as from a
    /// newer server.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Reads the room's retained history, one page at a time.
    pub fn history(&self) -> History<'_, R> {
        History::new(&self.sender.client, &self.sender.room, self.route)
    }

    /// Returns a handle that sends into the room from another task. It does not keep the room joined.
    pub fn sender(&self) -> RoomSender<R> {
        self.sender.clone()
    }

    /// Leaves the room, and waits for the server's confirmation.
    ///
    /// # Errors
    ///
    /// The client's final error if it has stopped; the room is left regardless.
    pub async fn leave(self) -> Result<(), Error> {
        if self.route == Route::Stream {
            return Ok(());
        }
        let (sender, response) = tokio::sync::oneshot::channel();
        let client = &self.sender.client;
        client.submit(Command::Leave(self.sender.room.clone(), ReplySlot { sender, permit: None })).await?;
        response.await.unwrap_or_else(|_| Err(client.stopped_error())).map(drop)
    }

    /// Returns the first `limit` users in the room, at most 1,000, in the order of their ids, starting after the user
    /// `after`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal.
    pub async fn members(&self, limit: u32, after: Option<&str>) -> Result<Members, Error>
    where
        R: Via<channel::WebSocket>,
    {
        let limit = Some(usize::try_from(limit).unwrap_or(usize::MAX));
        let after = after.map(|user| user.to_owned().into());
        match self.ask(GetMembers { room_id: self.room_id(), limit, after }).await? {
            Reply::Members(frame) => Ok(Members::from(frame)),
            _ => Err(Error::new(ErrorKind::Decode, "the server sent a response of another type")),
        }
    }

    /// Adds event `E` to the room's subscription, for later rejoins too.
    ///
    /// # Errors
    ///
    /// As [`members`](RoomClient::members).
    pub async fn subscribe<E: EventOf<R>>(&self) -> Result<(), Error>
    where
        R: Via<channel::WebSocket>,
    {
        let events = vec![E::NAME.into()];
        self.ask(Subscribe { room_id: self.room_id(), events }).await.map(drop)
    }

    /// Removes event `E` from the room's subscription, for later rejoins too.
    ///
    /// # Errors
    ///
    /// As [`members`](RoomClient::members).
    pub async fn unsubscribe<E: EventOf<R>>(&self) -> Result<(), Error>
    where
        R: Via<channel::WebSocket>,
    {
        let events = vec![E::NAME.into()];
        self.ask(Unsubscribe { room_id: self.room_id(), events }).await.map(drop)
    }

    /// Sends an event, as [`RoomSender::send`].
    ///
    /// # Errors
    ///
    /// As [`RoomSender::send`].
    pub fn send<E: EventOf<R> + ClientEvent>(&self, event: E) -> Sending<'_, Error>
    where
        R: TwoWay,
    {
        self.sender.send(event)
    }

    /// Sends an ephemeral event without waiting for a response, as [`RoomSender::try_send`].
    ///
    /// # Errors
    ///
    /// As [`RoomSender::try_send`].
    pub fn try_send<E: EventOf<R> + ClientEvent>(&self, event: E) -> Result<(), Error>
    where
        R: TwoWay,
    {
        self.sender.try_send(event)
    }

    async fn ask(&self, request: impl Into<Request>) -> Result<Reply, Error> {
        self.sender.client.ask(Some(self.sender.room.clone()), RetryClass::Idempotent, request).await
    }

    fn room_id(&self) -> Text<'static> {
        self.sender.room.to_string().into()
    }

    fn read(
        &mut self,
        event_frame: frame::Event<'static>,
    ) -> Result<Option<Delivery<R::Event>>, Interruption> {
        let read = read::<R>(event_frame)?;
        if read.is_none() {
            self.unknown = self.unknown.saturating_add(1);
        }
        Ok(read)
    }
}

impl<R: Room> fmt::Debug for RoomClient<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomClient")
            .field("room", &self.sender.room)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// A handle that sends into a joined room, from any task.
pub struct RoomSender<R> {
    client: Client,
    room: Arc<str>,
    marker: PhantomData<fn() -> R>,
}

impl<R: Room> RoomSender<R> {
    /// Sends an event, and waits until it is in the room's log with the durability that the server's application
    /// configured.
    ///
    /// The event is sent again, with the same idempotency key, after a lost connection and after a transient refusal
    /// (rate limited or unavailable), until [`Connect::deadline`](super::Connect::deadline). It is accepted once,
    /// regardless of the number of attempts. Sends of one task are accepted in their order; of concurrent sends, one
    /// that the server refuses for now may be accepted after a later one that was already in transit.
    ///
    /// An [ephemeral](DeliveryClass::Ephemeral) event is sent at most once, and never queued for later.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal; [`ErrorKind::Deadline`], after which the event may or may not
    /// have been accepted; [`ErrorKind::QueueFull`] and, for an ephemeral event, [`ErrorKind::Offline`] while there is
    /// no connection.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not withdraw the event: it may still be sent.
    pub fn send<E: EventOf<R> + ClientEvent>(&self, event: E) -> Sending<'_, Error>
    where
        R: TwoWay,
    {
        let ephemeral = matches!(E::CLASS, DeliveryClass::Ephemeral);
        let (class, key) =
            if ephemeral { (RetryClass::Ephemeral, None) } else { (RetryClass::Durable, Some(new_key())) };
        let request = self.trigger(&event, key);
        Sending::new(async move {
            match self.client.ask(Some(self.room.clone()), class, request?).await? {
                Reply::Accepted(accepted) => Ok(accepted),
                _ => Err(Error::new(ErrorKind::Decode, "the server sent a response of another type")),
            }
        })
    }

    /// Sends an ephemeral event without waiting for a response, so its delivery is unknown. A durable event does not
    /// compile here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Offline`] while there is no connection; [`ErrorKind::QueueFull`] if events are sent faster than the
    /// driver accepts them.
    pub fn try_send<E: EventOf<R> + ClientEvent>(&self, event: E) -> Result<(), Error>
    where
        R: TwoWay,
    {
        const {
            assert!(
                matches!(E::CLASS, DeliveryClass::Ephemeral),
                "`try_send` is for ephemeral events; `send` the others"
            );
        }
        match self.client.status() {
            Status::Online(_) => {}
            Status::Stopped(error) => return Err(error),
            _ => return Err(offline()),
        }
        let request = self.trigger(&event, None)?;
        let command = Command::Cast { room: self.room.clone(), request };
        self.client.shared.commands.try_send(command).map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => queue_full(),
            tokio::sync::mpsc::error::TrySendError::Closed(_) => self.client.stopped_error(),
        })
    }

    fn trigger<E: EventOf<R>>(&self, event: &E, key: Option<String>) -> Result<Request, Error> {
        let data = Raw::of(event).map_err(|error| {
            Error::caused(ErrorKind::Encode, format!("write the event `{}`", E::NAME), error)
        })?;
        let (room_id, event) = (self.room.to_string().into(), E::NAME.into());
        Ok(Trigger { room_id, event, data, key: key.map(Into::into), meta: None }.into())
    }
}

impl<R> Clone for RoomSender<R> {
    fn clone(&self) -> Self {
        RoomSender { client: self.client.clone(), room: self.room.clone(), marker: PhantomData }
    }
}

impl<R> fmt::Debug for RoomSender<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomSender").field("room", &self.room).finish_non_exhaustive()
    }
}

/// A page of a room's users.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// The users of this page.
    pub members: Vec<Member>,
    /// The number of users in the room.
    pub size: u64,
    /// True if more users follow this page.
    pub more: bool,
}

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The user's id.
    pub user_id: String,
    /// The number of the user's connections in the room.
    pub connections: u64,
}

impl From<frame::Members<'_>> for Members {
    fn from(frame: frame::Members<'_>) -> Self {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let member =
            |row: frame::Member| Member { user_id: row.user_id, connections: number(row.connections) };
        Members {
            members: frame.members.into_iter().map(member).collect(),
            size: number(frame.size),
            more: frame.more,
        }
    }
}

/// Decodes an event as the room declares it; `None` if the room does not declare its name.
pub(crate) fn read<R: Room>(
    event_frame: frame::Event<'static>,
) -> Result<Option<Delivery<R::Event>>, Box<Unreadable>> {
    let Some(carried) = R::EVENTS.iter().find(|carried| carried.kind.name == event_frame.event) else {
        return Ok(None);
    };
    let meta = event_frame.meta.as_ref().map(|meta| serde_json::from_str(&meta.0)).transpose();
    let (event, meta) = match ((carried.decode)(&event_frame.data.0), meta) {
        (Ok(event), Ok(meta)) => (event, meta),
        (Err(error), _) | (_, Err(error)) => {
            let frame::Event { room_id, event, from, event_id, seq, .. } = event_frame;
            let [room_id, event, from, event_id] = [room_id, event, from, event_id].map(Cow::into_owned);
            return Err(Box::new(Unreadable { room_id, event, from, event_id, seq, why: error.to_string() }));
        }
    };
    Ok(Some(Delivery {
        event,
        room_id: event_frame.room_id.into_owned(),
        from: event_frame.from.into_owned(),
        timestamp: event_frame.timestamp,
        event_id: event_frame.event_id.into_owned(),
        seq: event_frame.seq,
        server: event_frame.server,
        meta,
    }))
}

/// Returns an idempotency key of 128 random bits, enough that two sends never share one.
fn new_key() -> String {
    format!("{:032x}", fastrand::u128(..))
}
