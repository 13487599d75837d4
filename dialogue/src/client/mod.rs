//! The typed client.
//!
//! `rooms!` declares a client beside the server: `AcmeClient` for a program `Acme`, with a method for each room.
//!
//! ```no_run
//! # #[dialogue::event]
//! # pub struct Message { pub text: String }
//! # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket] }
//! # async fn run(token: String) -> Result<(), Box<dyn std::error::Error>> {
//! let client = AcmeClient::connect("ws://localhost:3000").token(token).await?;
//! let mut chat: ChatClient = client.chat().join().await?;
//! chat.send(Message { text: "hi".into() }).await?;
//! while let Some(delivery) = chat.next().await? {
//!     match delivery.event {
//!         ChatEvent::Message(message) => println!("{}: {}", delivery.from, message.text),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # Over lost connections
//!
//! One task holds the connection. When it is lost, the task comes back with jittered, growing delays, joins every room
//! again from the last event that the room's reader was given, and sends again what has no answer yet, under the same
//! key, so that nothing is doubled. An application notices nothing but a pause, unless events *are* lost: then
//! [`RoomClient::next`] yields [`Interruption::Lost`] as an error, once, and `?` or a `match` has to deal with it.
//!
//! An HTTP status that Dialogue didn't write, such as the 404 or 403 of a proxy whose server restarts, is passed like a lost
//! connection once there was one; before, it is an error that says so. What Dialogue itself refuses is final, but for what it
//! says to try again.
//!
//! # What is bounded
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | requests without an answer | [`Connect::offline_queue`], 256 | while connected, the next waits; else it fails at once with [`ErrorKind::QueueFull`] |
//! | how long a request may take | [`Connect::deadline`], 30 s | [`ErrorKind::Deadline`] |
//! | events of a room not taken yet | [`Connect::buffer`], 1,024, and 4 MiB | the connection is not read, so that the server waits with the application; while another room, or somebody who waits for an answer, needs the connection, or the reader has taken nothing for 10 s, ephemeral events are skipped and counted, and the others asked for again when there is room: nothing is lost and no other room waits |
//!
//! # Which connection
//!
//! A room that has `websocket` among its channels is joined over the client's one WebSocket, any other over a stream of
//! its own (Server-Sent Events).

mod connect;
mod core;
mod driver;
mod endpoint;
mod error;
mod frame;
mod history;
mod incoming;
mod join;
mod push;
mod room;
mod status;
mod stream;
mod transport;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

pub use self::{
    connect::Connect,
    error::{Error, ErrorKind},
    history::{History, Page},
    incoming::{Change, Incoming, Interruption, Joined, Lost, Presence, Resume},
    join::JoinRoom,
    push::Device,
    room::{Member, Members, RoomClient, RoomSender},
    status::{Identity, Status, Statuses},
};
use self::{
    core::{Class, Config, Reply},
    driver::{Answer, Command},
    endpoint::Endpoint,
    frame::Request,
};

/// A connection to a server, over all its reconnects.
///
/// A handle: clones share the connection. It ends when the last handle, of the client and of its rooms, is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    /// Tells the driver that a reader has taken something, or has gone.
    wake: Arc<Notify>,
    /// As many as the core takes requests.
    slots: Arc<Semaphore>,
    endpoint: Arc<Endpoint>,
    config: Config,
    /// Events and bytes that a room holds for its reader.
    buffer: (usize, usize),
}

impl Client {
    /// True while there is a connection. Where a room over an event stream ends, the status has changed before its
    /// reader is told.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// The status now, and whenever it becomes another one.
    pub fn statuses(&self) -> Statuses {
        let mut watch = self.shared.status.clone();
        watch.mark_changed();
        Statuses { watch }
    }

    /// Shows the server another token for the same user before the old one runs out, and uses it for reconnects where
    /// the old one was given to [`Connect::token`]. While there is no connection, it is only kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] if the token is no good, [`ErrorKind::Refused`] if it is another user's; the old
    /// one then stays.
    pub async fn authenticate(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = token.into();
        if matches!(self.status(), Status::Online(_)) {
            self.ask(None, Class::Connection, Request::Auth { token: token.clone() }).await?;
        }
        self.shared.endpoint.replace(&token);
        Ok(())
    }

    /// Ends the connection. What still waits for an answer fails with [`ErrorKind::Closed`], and every room's reader
    /// comes to its end.
    pub async fn close(&self) {
        if self.shared.commands.send(Command::Close).await.is_ok() {
            self.shared.commands.closed().await;
        }
    }

    /// One request, to its answer.
    async fn ask(&self, room: Option<Arc<str>>, class: Class, request: Request) -> Result<Reply, Error> {
        let slot = Some(self.slot().await?);
        let (to, answer) = oneshot::channel();
        self.order(Command::Request { room, class, request, answer: Answer { to, slot } }).await?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// A place among the requests that wait. While connected, answers make room, so it is worth waiting.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, Error> {
        let slots = &self.shared.slots;
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Ok(slot);
        }
        let mut status = self.shared.status.clone();
        let offline = status.wait_for(|status| !matches!(status, Status::Online(_)));
        let wait = async {
            tokio::select! {
                slot = slots.clone().acquire_owned() => slot.map_err(|_| self.gone()),
                _ = offline => Err(core::queue_full()),
            }
        };
        timeout(self.shared.config.deadline, wait).await.unwrap_or_else(|_| Err(core::queue_full()))
    }

    async fn order(&self, command: Command) -> Result<(), Error> {
        self.shared.commands.send(command).await.map_err(|_| self.gone())
    }

    /// Why the driver does not answer any more.
    fn gone(&self) -> Error {
        match self.status() {
            Status::Stopped(error) => error,
            _ => Error::new(ErrorKind::Closed, "the client was closed"),
        }
    }

    /// How long the server has for an answer.
    fn deadline(&self) -> Duration {
        self.shared.config.deadline
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.shared.endpoint.address)
            .field("status", &*self.shared.status.borrow())
            .finish_non_exhaustive()
    }
}
