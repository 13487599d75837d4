//! Joining a room.

use std::{collections::BTreeSet, fmt, marker::PhantomData, sync::Arc};

use tokio::sync::{Notify, oneshot};

use super::{
    Client,
    core::{Class, Inbox, Joining, Reply},
    driver::Command,
    error::{Error, ErrorKind},
    frame::Request,
    room::{RoomClient, Route},
    stream::{Opening, StreamRoom},
};
use crate::{
    room::{Channel, EventOf, Key, Room},
    wire::Position,
};

/// A room that a client may join.
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

    /// The room's id.
    pub fn id(&self) -> &str {
        &self.room
    }

    /// Goes on after `position`, which [`RoomClient::position`] gave in an earlier life of the application. If the room
    /// no longer holds what came after it, the first [`next`](RoomClient::next) says so.
    pub fn since(mut self, position: Position) -> Self {
        self.since = Some(position);
        self
    }

    /// Wants only event `E`, and those of other calls. Without any call the room's own default holds, which is every
    /// event unless declared otherwise.
    pub fn only<E: EventOf<R>>(mut self) -> Self {
        self.events.get_or_insert_default().insert(E::NAME.to_owned());
        self
    }

    /// Joins, and stays joined over lost connections until the [`RoomClient`] is dropped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] as the server says, [`ErrorKind::AlreadyJoined`] while another [`RoomClient`] of this client
    /// has the room, [`ErrorKind::Deadline`] if there was no answer in time.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the room is left again.
    pub async fn join(self) -> Result<RoomClient<R>, Error> {
        let JoinRoom { client, room, events, since, .. } = self;
        let (events_at_most, bytes) = client.shared.buffer;
        let inbox = Arc::new(Inbox::new(events_at_most, bytes));
        let (to, answer) = oneshot::channel();
        let (route, wake, command) = if R::CHANNELS.contains(&Channel::WebSocket) {
            let default = default_events::<R>();
            let joining = Joining { room: room.clone(), events, default, since, inbox: inbox.clone() };
            (Route::Socket, client.shared.wake.clone(), Command::Join(joining, to))
        } else {
            let wake = Arc::new(Notify::new());
            let (endpoint, config) = (client.shared.endpoint.clone(), client.shared.config.clone());
            let opening =
                Opening { room: room.clone(), events, since, inbox: inbox.clone(), wake: wake.clone() };
            let stream = Box::new(StreamRoom::new(opening, endpoint, config, to));
            (Route::Stream, wake, Command::Stream(stream))
        };
        let reader = Reader { inbox, wake };
        client.order(command).await?;
        match answer.await.unwrap_or_else(|_| Err(client.gone()))? {
            Reply::Joined(joined) => Ok(RoomClient::new(client, room, route, reader, joined)),
            _ => Err(Error::new(ErrorKind::Decode, "the server answered the join with something else")),
        }
    }

    /// Makes the instance of a keyed room, with this client as its creator. A first join makes one too, without creator.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] as the server says: [`Code::RoomExists`](crate::Code::RoomExists) where there is one.
    pub async fn create(&self) -> Result<(), Error> {
        let request = Request::CreateRoom {
            room_id: self.room.to_string(),
            name: None,
            description: None,
            max_size: None,
        };
        self.client.ask(None, Class::Idempotent, request).await.map(drop)
    }

    /// Deletes the instance of a keyed room; only its creator may.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] as the server says.
    pub async fn delete(&self) -> Result<(), Error> {
        let request = Request::DeleteRoom { room_id: self.room.to_string() };
        self.client.ask(None, Class::Idempotent, request).await.map(drop)
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

/// The reader's end of an inbox. Dropping it leaves the room.
pub(crate) struct Reader {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) wake: Arc<Notify>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.inbox.abandon();
        self.wake.notify_one();
    }
}

fn default_events<R: Room>() -> BTreeSet<String> {
    match R::OPTIONS.subscribe {
        Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        None => R::EVENTS.iter().map(|carried| carried.kind.name.to_owned()).collect(),
    }
}
