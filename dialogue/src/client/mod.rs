//! The typed client for tokio applications.
//!
//! `rooms!` generates a client for each program: `AcmeClient` for `Acme`, with one method per room.
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
//! One task owns the connection. After a lost connection it reconnects with exponential backoff and jitter, joins every
//! room again from the last event that it queued for the room's reader, and sends the requests without a response
//! again, with the same idempotency keys, so that no event is duplicated. The application observes a delay only, unless
//! events *were* lost: [`RoomClient::next`] then returns [`Interruption::Lost`] once, as an error.
//!
//! An HTTP status without a refusal of Dialogue, such as the 404 or 403 of a proxy whose server restarts, is retried
//! like a lost connection if the client was connected before; otherwise it is returned as an error. Refusals of
//! Dialogue are final, except for the codes that allow a retry.
//!
//! # What is bounded
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | requests without a response | [`Connect::offline_queue`], 256 | while connected, the next request waits; otherwise it fails at once with [`ErrorKind::QueueFull`] |
//! | duration of a request | [`Connect::deadline`], 30 s | the request fails with [`ErrorKind::Deadline`] |
//! | events in a room's buffer | [`Connect::buffer`], 1,024, and 4 MiB | reading from the connection is paused, which puts backpressure on the server. While another room or a request needs the connection, or after the reader has taken nothing for 10 s, reading continues: ephemeral events are skipped and counted, and the others are requested again when the buffer has space. No durable event is lost and no other room is delayed |
//!
//! # Which connection
//!
//! Rooms that declare the channel `websocket` share the client's one WebSocket. Every other room has a stream of its
//! own (Server-Sent Events).

mod connect;
mod core;
mod driver;
mod endpoint;
mod error;
pub(crate) mod expansion;
mod frame;
mod history;
mod incoming;
mod join;
mod push;
mod request;
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
    core::{Config, Reply, RetryClass},
    driver::{Command, ReplySlot},
    endpoint::Endpoint,
    request::Request,
};
use crate::wire::request::Auth;

/// A handle of a connection to a server, which it keeps open over reconnects.
///
/// Clones share the connection. The connection closes when the last handle, of the client and of its rooms, is dropped.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Status>,
    /// Wakes the driver when a reader has taken an item or was dropped.
    wake: Arc<Notify>,
    /// The permits of requests without a response, as many as the core accepts.
    permits: Arc<Semaphore>,
    endpoint: Arc<Endpoint>,
    config: Config,
    /// The bounds of each room's buffer: events, and bytes.
    buffer: (usize, usize),
}

impl Client {
    /// Returns the current status. When a room over an event stream ends, the status changes before the room's reader
    /// receives the end.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Returns a stream of statuses: the current one, then every change.
    pub fn statuses(&self) -> Statuses {
        let mut watch = self.shared.status.clone();
        watch.mark_changed();
        Statuses { watch }
    }

    /// Sends the server a new token of the same user before the current one expires, and uses it for reconnects if the
    /// current one was given to [`Connect::token`]. Without a connection the token is only stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unauthenticated`] if the token is invalid, [`ErrorKind::Refused`] if it belongs to another user;
    /// the current token then stays in use.
    pub async fn authenticate(&self, token: impl Into<String>) -> Result<(), Error> {
        let token = token.into();
        if matches!(self.status(), Status::Online(_)) {
            self.ask(None, RetryClass::Connection, Auth { token: token.clone().into() }).await?;
        }
        self.shared.endpoint.replace(&token);
        Ok(())
    }

    /// Closes the connection. Requests without a response fail with [`ErrorKind::Closed`], and every room's reader ends
    /// with `None`.
    pub async fn close(&self) {
        if self.shared.commands.send(Command::Close).await.is_ok() {
            self.shared.commands.closed().await;
        }
    }

    /// Sends one request and waits for its response.
    async fn ask(
        &self,
        room: Option<Arc<str>>,
        class: RetryClass,
        request: impl Into<Request>,
    ) -> Result<Reply, Error> {
        let (permit, request) = (Some(self.permit().await?), request.into());
        let (sender, response) = oneshot::channel();
        self.submit(Command::Request { room, class, request, reply: ReplySlot { sender, permit } }).await?;
        response.await.unwrap_or_else(|_| Err(self.stopped_error()))
    }

    /// Acquires a permit of the request queue. Waits only while connected, when responses free permits.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let permits = &self.shared.permits;
        if let Ok(permit) = permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let mut status = self.shared.status.clone();
        let offline = status.wait_for(|status| !matches!(status, Status::Online(_)));
        let wait = async {
            tokio::select! {
                permit = permits.clone().acquire_owned() => permit.map_err(|_| self.stopped_error()),
                _ = offline => Err(core::queue_full()),
            }
        };
        timeout(self.shared.config.deadline, wait).await.unwrap_or_else(|_| Err(core::queue_full()))
    }

    async fn submit(&self, command: Command) -> Result<(), Error> {
        self.shared.commands.send(command).await.map_err(|_| self.stopped_error())
    }

    /// Returns the reason why the driver has stopped.
    fn stopped_error(&self) -> Error {
        match self.status() {
            Status::Stopped(error) => error,
            _ => Error::new(ErrorKind::Closed, "the client was closed"),
        }
    }

    /// Returns the maximum time from a request to its response.
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
