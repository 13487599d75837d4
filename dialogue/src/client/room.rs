//! A joined room.

use std::{fmt, future::poll_fn, marker::PhantomData, sync::Arc};

use super::{
    Client,
    core::{Class, Item, Reply, offline, queue_full},
    driver::{Answer, Command},
    error::{Error, ErrorKind},
    frame::{Arrival, Request},
    history::History,
    incoming::{Incoming, Interruption, Joined},
    join::Reader,
    status::Status,
};
use crate::{
    delivery::{Delivery, Unreadable},
    event::{ClientEvent, DeliveryClass},
    room::{EventOf, Room, TwoWay, Via, channel},
    sending::Sending,
    wire::Position,
};

/// A joined room: reads the room's events in order, and sends events.
///
/// Dropping it leaves the room. Until then it resumes after every lost connection.
pub struct RoomClient<R: Room> {
    sender: RoomSender<R>,
    route: Route,
    reader: Reader,
    joined: Joined,
    unknown: u64,
}

/// The transport of a room's events.
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

    /// Returns the next event, or `None` after [`Client::close`] or an interruption that ends the room.
    ///
    /// An interruption of the sequence is an error, so that a loop can't overlook it: with `?` a lost resume ends the
    /// loop; with a `match` the application loads its state again and continues, as `next` may be called again.
    ///
    /// ```no_run
    /// # use dialogue::{Room, client::{Interruption, RoomClient}};
    /// # async fn run<R: Room>(mut chat: RoomClient<R>) -> Result<(), Interruption> {
    /// loop {
    ///     match chat.next().await {
    ///         Ok(Some(delivery)) => { /* … */ }
    ///         Ok(None) => break,
    ///         Err(Interruption::Lost(_)) => { /* what was drawn from earlier events is stale: load it anew */ }
    ///         Err(other) => return Err(other),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The variants of [`Interruption`] document which of them are final.
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

    /// Returns the next event or notice: as [`next`](RoomClient::next), with presence, skipped events and resumes.
    ///
    /// # Errors
    ///
    /// As [`next`](RoomClient::next).
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn incoming(&mut self) -> Result<Option<Incoming<R>>, Interruption> {
        loop {
            let item = poll_fn(|cx| self.reader.inbox.poll_take(cx)).await?;
            if self.reader.inbox.wakes() {
                self.reader.wake.notify_one();
            }
            let incoming = match item {
                None => return Ok(None),
                Some(Item::Lost(lost)) => return Err(Interruption::Lost(lost)),
                Some(Item::Rejoined(joined)) => Incoming::Rejoined(joined),
                Some(Item::Presence(presence)) => Incoming::Presence(presence),
                Some(Item::Skipped(count)) => Incoming::Skipped(count),
                Some(Item::Unreadable(unreadable, _)) => return Err(unreadable.into()),
                Some(Item::Event(arrival)) => match self.read(arrival)? {
                    Some(delivery) => Incoming::Event(delivery),
                    None => continue,
                },
                Some(Item::History(arrival, _)) => match self.read(arrival)? {
                    Some(delivery) => Incoming::History(delivery),
                    None => continue,
                },
            };
            return Ok(Some(incoming));
        }
    }

    /// Returns the position after the last event that was read. Store it together with the state that the application
    /// derives from the events, and pass it to [`JoinRoom::since`](super::JoinRoom::since) after a restart.
    pub fn position(&self) -> Position {
        self.reader.inbox.position()
    }

    /// Returns the number of skipped events whose names this program doesn't declare, such as those of a newer server.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Returns a request for a page of the room's history.
    pub fn history(&self) -> History<'_, R> {
        History::new(&self.sender.client, &self.sender.room, self.route)
    }

    /// Returns a handle that sends into the room from other tasks. It doesn't keep the room joined.
    pub fn sender(&self) -> RoomSender<R> {
        self.sender.clone()
    }

    /// Leaves the room, and waits for the server's response.
    ///
    /// # Errors
    ///
    /// The client has stopped. The room is left even then.
    pub async fn leave(self) -> Result<(), Error> {
        if self.route == Route::Stream {
            return Ok(());
        }
        let (to, answer) = tokio::sync::oneshot::channel();
        let client = &self.sender.client;
        client.order(Command::Leave(self.sender.room.clone(), Answer { to, slot: None })).await?;
        answer.await.unwrap_or_else(|_| Err(client.gone())).map(drop)
    }

    /// Returns the first `limit` members of the room, at most 1,000, sorted by id, from the one after `after`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] as the server says.
    pub async fn members(&self, limit: u32, after: Option<&str>) -> Result<Members, Error>
    where
        R: Via<channel::WebSocket>,
    {
        let after = after.map(str::to_owned);
        match self.ask(Request::Members { room_id: self.room_id(), limit: Some(limit), after }).await? {
            Reply::Members(frame) => Ok(Members::from(frame)),
            _ => Err(Error::new(ErrorKind::Decode, "the server answered with something else")),
        }
    }

    /// Subscribes to event `E`, from now on.
    ///
    /// # Errors
    ///
    /// As [`members`](RoomClient::members).
    pub async fn subscribe<E: EventOf<R>>(&self) -> Result<(), Error>
    where
        R: Via<channel::WebSocket>,
    {
        let events = vec![E::NAME.to_owned()];
        self.ask(Request::Subscribe { room_id: self.room_id(), events }).await.map(drop)
    }

    /// Unsubscribes from event `E`.
    ///
    /// # Errors
    ///
    /// As [`members`](RoomClient::members).
    pub async fn unsubscribe<E: EventOf<R>>(&self) -> Result<(), Error>
    where
        R: Via<channel::WebSocket>,
    {
        let events = vec![E::NAME.to_owned()];
        self.ask(Request::Unsubscribe { room_id: self.room_id(), events }).await.map(drop)
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

    async fn ask(&self, request: Request) -> Result<Reply, Error> {
        self.sender.client.ask(Some(self.sender.room.clone()), Class::Idempotent, request).await
    }

    fn room_id(&self) -> String {
        self.sender.room.to_string()
    }

    fn read(&mut self, arrival: Arrival) -> Result<Option<Delivery<R::Event>>, Interruption> {
        let read = read::<R>(arrival)?;
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

/// Sends events into a joined room, from any task.
pub struct RoomSender<R> {
    client: Client,
    room: Arc<str>,
    marker: PhantomData<fn() -> R>,
}

impl<R: Room> RoomSender<R> {
    /// Sends an event, and waits until it is in the room's log, with the durability of the server's store.
    ///
    /// It is sent again with the same idempotency key if the connection is lost before the response, or the server
    /// limits the rate or can't accept it at the moment, until [`Connect::deadline`](super::Connect::deadline). The
    /// server accepts it once, however often it is sent. Consecutive sends of one task arrive in their order; of
    /// concurrent ones, a send that the server defers may arrive after a later one.
    ///
    /// An [ephemeral](DeliveryClass::Ephemeral) event is sent at most once, and is not queued while offline.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal; [`ErrorKind::Deadline`], after which the event may or may not
    /// have been accepted; [`ErrorKind::QueueFull`] and, for an ephemeral event, [`ErrorKind::Offline`] while there is
    /// no connection.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the event may still be sent.
    pub fn send<E: EventOf<R> + ClientEvent>(&self, event: E) -> Sending<'_, Error>
    where
        R: TwoWay,
    {
        let ephemeral = matches!(E::CLASS, DeliveryClass::Ephemeral);
        let (class, key) =
            if ephemeral { (Class::Ephemeral, None) } else { (Class::Durable, Some(new_key())) };
        let request = self.trigger(&event, key);
        Sending::new(async move {
            match self.client.ask(Some(self.room.clone()), class, request?).await? {
                Reply::Accepted(accepted) => Ok(accepted),
                _ => Err(Error::new(ErrorKind::Decode, "the server answered with something else")),
            }
        })
    }

    /// Sends an ephemeral event without waiting for a response, so that a loss goes unnoticed. A durable event doesn't
    /// compile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Offline`] while there is no connection; [`ErrorKind::QueueFull`] while too many frames wait to be
    /// written.
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
            tokio::sync::mpsc::error::TrySendError::Closed(_) => self.client.gone(),
        })
    }

    fn trigger<E: EventOf<R>>(&self, event: &E, key: Option<String>) -> Result<Request, Error> {
        let data = serde_json::value::to_raw_value(event).map_err(|error| {
            Error::caused(ErrorKind::Encode, format!("write the event `{}`", E::NAME), error)
        })?;
        Ok(Request::Trigger { room_id: self.room.to_string(), event: E::NAME, data, key, meta: None })
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

/// A page of a room's members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// The members of this page.
    pub members: Vec<Member>,
    /// The number of all members.
    pub size: u64,
    /// Set if more members follow this page.
    pub more: bool,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The user's id.
    pub user_id: String,
    /// The number of the user's connections in the room.
    pub connections: u64,
}

impl From<super::frame::MembersFrame> for Members {
    fn from(frame: super::frame::MembersFrame) -> Self {
        let member =
            |row: super::frame::MemberRow| Member { user_id: row.user_id, connections: row.connections };
        Members {
            members: frame.members.into_iter().map(member).collect(),
            size: frame.size,
            more: frame.more,
        }
    }
}

/// Decodes an event as the room declares it; `None` for an undeclared one.
pub(crate) fn read<R: Room>(arrival: Arrival) -> Result<Option<Delivery<R::Event>>, Box<Unreadable>> {
    let Some(carried) = R::EVENTS.iter().find(|carried| carried.kind.name == arrival.event) else {
        return Ok(None);
    };
    let meta = arrival.meta.as_deref().map(|meta| serde_json::from_str(meta.get())).transpose();
    let (event, meta) = match ((carried.decode)(arrival.data.get()), meta) {
        (Ok(event), Ok(meta)) => (event, meta),
        (Err(error), _) | (_, Err(error)) => {
            let Arrival { room_id, event, from, event_id, seq, .. } = arrival;
            let why = error.to_string();
            return Err(Box::new(Unreadable { room_id, event, from, event_id, seq, why }));
        }
    };
    Ok(Some(Delivery {
        event,
        room_id: arrival.room_id,
        from: arrival.from,
        timestamp: arrival.timestamp,
        event_id: arrival.event_id,
        seq: arrival.seq,
        server: arrival.server,
        meta,
    }))
}

/// Returns an idempotency key of 128 random bits, which makes collisions within a room negligible.
fn new_key() -> String {
    format!("{:032x}", fastrand::u128(..))
}
