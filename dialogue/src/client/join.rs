//! The builder of a join, for a room over the WebSocket or over a stream of its own.

use std::{collections::BTreeSet, fmt, marker::PhantomData, sync::Arc};

use tokio::sync::{Notify, oneshot};

use super::{
    Client,
    core::{Joining, Reply, RetryClass, RoomBuffer},
    driver::Command,
    error::{Error, ErrorKind},
    room::{RoomClient, Route},
    stream::{StreamRoom, StreamSpec},
};
use crate::{
    room::{Channel, EventOf, Key, Room},
    wire::{
        Position,
        request::{CreateRoom, DeleteRoom},
    },
};

/// A room that a client can join, create or delete.
#[must_use = "nothing happens until `join` is called"]
pub struct JoinRoom<R> {
    client: Client,
    room: Arc<str>,
    events: Option<BTreeSet<String>>,
    since: Option<Position>,
    marker: PhantomData<fn() -> R>,
}

impl<R: Room> JoinRoom<R> {
    pub(crate) fn new(client: &Client, key: R::Key) -> Self {
        let room = match key.text() {
            Some(key) => format!("{}:{key}", R::NAME).into(),
            None => R::NAME.into(),
        };
        JoinRoom { client: client.clone(), room, events: None, since: None, marker: PhantomData }
    }

    /// Returns the room's id.
    pub fn id(&self) -> &str {
        &self.room
    }

    /// Resumes after `position`, which [`RoomClient::position`] returned before the application restarted. If the room
    /// no longer retains every later event, the first [`next`](RoomClient::next) returns
    /// [`Interruption::Lost`](super::Interruption::Lost).
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// Subscribes to event `E`, and to those of repeated calls, only. Without a call the room's declared default
    /// applies, which is every event unless declared otherwise.
    pub fn only<E: EventOf<R>>(mut self) -> Self {
        self.events.get_or_insert_default().insert(E::NAME.to_owned());
        self
    }

    /// Joins the room, and rejoins it after lost connections until the [`RoomClient`] is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal, [`ErrorKind::AlreadyJoined`] if another [`RoomClient`] of this
    /// client has joined the room, [`ErrorKind::Deadline`] if the server did not respond in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the room again.
    pub async fn join(self) -> Result<RoomClient<R>, Error> {
        let JoinRoom { client, room, events, since, .. } = self;
        let (max_events, max_bytes) = client.shared.buffer;
        let buffer = Arc::new(RoomBuffer::new(max_events, max_bytes));
        let (sender, response) = oneshot::channel();
        let (route, wake, command) = if R::CHANNELS.contains(&Channel::WebSocket) {
            let default = default_events::<R>();
            let joining = Joining { room: room.clone(), events, default, since, buffer: buffer.clone() };
            (Route::Socket, client.shared.wake.clone(), Command::Join(joining, sender))
        } else {
            let wake = Arc::new(Notify::new());
            let (endpoint, config) = (client.shared.endpoint.clone(), client.shared.config.clone());
            let spec =
                StreamSpec { room: room.clone(), events, since, buffer: buffer.clone(), wake: wake.clone() };
            let stream = Box::new(StreamRoom::new(spec, endpoint, config, sender));
            (Route::Stream, wake, Command::Stream(stream))
        };
        let reader = Reader { buffer, wake };
        client.submit(command).await?;
        match response.await.unwrap_or_else(|_| Err(client.stopped_error()))? {
            Reply::Joined(joined) => Ok(RoomClient::new(client, room, route, reader, joined)),
            _ => Err(Error::new(ErrorKind::Decode, "the server sent a response of another type to the join")),
        }
    }

    /// Creates the instance of a keyed room, with this user as its creator. A first join also creates it, without a
    /// creator.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal, such as [`Code::RoomExists`](crate::Code::RoomExists).
    pub async fn create(&self) -> Result<(), Error> {
        let request = CreateRoom {
            room_id: self.room.to_string().into(),
            name: None,
            description: None,
            max_size: None,
        };
        self.client.ask(None, RetryClass::Idempotent, request).await.map(drop)
    }

    /// Deletes the instance of a keyed room; allowed to its creator only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the server's refusal.
    pub async fn delete(&self) -> Result<(), Error> {
        let request = DeleteRoom { room_id: self.room.to_string().into() };
        self.client.ask(None, RetryClass::Idempotent, request).await.map(drop)
    }
}

impl<R> fmt::Debug for JoinRoom<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRoom")
            .field("room", &self.room)
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

/// The consumer of a buffer. Dropping it leaves the room.
pub(crate) struct Reader {
    pub(crate) buffer: Arc<RoomBuffer>,
    pub(crate) wake: Arc<Notify>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.abandon();
        self.wake.notify_one();
    }
}

fn default_events<R: Room>() -> BTreeSet<String> {
    match R::OPTIONS.subscribe {
        Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => R::EVENTS.iter().map(|carried| carried.kind.name.to_owned()).collect(),
    }
}
