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
//! One task owns the connection. When the connection is lost, the task reconnects with exponential backoff and jitter,
//! joins every room again from the last event that its reader was given, and sends unanswered requests again with the
//! same idempotency key, so that no event is published twice. An application notices only a pause, unless events *are*
//! lost: then [`RoomClient::next`] returns [`Interruption::Lost`] as an error, once, which `?` or a `match` must
//! handle.
//!
//! An HTTP status that Dialogue didn't send, such as the 404 or 403 of a proxy while the server restarts, counts as a
//! lost connection after a first successful connection, and is an error before. Refusals by Dialogue itself are final,
//! except those with a retry.
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

/// A client of a server, which reconnects by itself.
///
/// It is a handle: clones share the connection. The connection closes when the last handle, of the client and of its
/// rooms, is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    /// Notifies the driver that a reader has taken an event, or was dropped.
    wake: Arc<Notify>,
    /// One permit for each request that the core may hold.
    slots: Arc<Semaphore>,
    endpoint: Arc<Endpoint>,
    config: Config,
    /// The maximum events and bytes that a room buffers for its reader.
    buffer: (usize, usize),
}

impl Client {
    /// Returns whether the client is connected. When a room over an event stream ends, the status changes before the
    /// room's reader gets the end.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Returns a stream of the current status and its changes.
    pub fn statuses(&self) -> Statuses {
        let mut watch = self.shared.status.clone();
        watch.mark_changed();
        Statuses { watch }
    }

    /// Sends a new token of the same user to the server, before the old one expires, and uses it for reconnects if the
    /// old one was given to [`Connect::token`]. Without a connection, the token is only stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] if the token is invalid, [`ErrorKind::Refused`] if it is of another user. The old
    /// token stays in use then.
    pub async fn authenticate(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = token.into();
        if matches!(self.status(), Status::Online(_)) {
            self.ask(None, Class::Connection, Request::Auth { token: token.clone() }).await?;
        }
        self.shared.endpoint.replace(&token);
        Ok(())
    }

    /// Closes the connection. Pending requests fail with [`ErrorKind::Closed`], and the readers of all rooms end.
    pub async fn close(&self) {
        if self.shared.commands.send(Command::Close).await.is_ok() {
            self.shared.commands.closed().await;
        }
    }

    /// Sends a request and waits for its response.
    async fn ask(&self, room: Option<Arc<str>>, class: Class, request: Request) -> Result<Reply, Error> {
        let slot = Some(self.slot().await?);
        let (to, answer) = oneshot::channel();
        self.order(Command::Request { room, class, request, answer: Answer { to, slot } }).await?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Returns a permit for a request. Waits for one while connected, as responses free them, and fails otherwise.
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

    /// Returns the error for which the driver has stopped.
    fn gone(&self) -> Error {
        match self.status() {
            Status::Stopped(error) => error,
            _ => Error::new(ErrorKind::Closed, "the client was closed"),
        }
    }

    /// The timeout of a response.
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
