//! The tokio task of a client. It owns the socket and the streams, passes commands, frames and time to the
//! [core](super::core), and executes the core's actions. It is spawned by [`Connect`](super::Connect).

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    core::{Action, Config, Core, Joining, Loss, Reply, RetryClass, Ticket},
    endpoint::Endpoint,
    error::Error,
    request::Request,
    status::{Status, StatusBoard},
    stream::StreamRoom,
    transport::websocket::{Socket, SocketEvent},
};

/// Number of queued frames from which on events that are sent without a response are dropped.
const MAX_QUEUED_CASTS: usize = 256;
/// Maximum time for the streams' tasks to end after the client stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A command from a client's handle to the driver.
pub(crate) enum Command {
    /// Opens the connection before a room or request needs it.
    Start,
    Join(Joining, oneshot::Sender<Result<Reply, Error>>),
    Stream(Box<StreamRoom>),
    Leave(Arc<str>, ReplySlot),
    Request {
        room: Option<Arc<str>>,
        class: RetryClass,
        request: Request,
        reply: ReplySlot,
    },
    Cast {
        room: Arc<str>,
        request: Request,
    },
    Close,
}

/// The reply channel of a request, and its permit in the queue of requests.
pub(crate) struct ReplySlot {
    pub(crate) sender: oneshot::Sender<Result<Reply, Error>>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Driver {
    core: Core,
    started: Instant,
    endpoint: Arc<Endpoint>,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    board: Arc<StatusBoard>,
    reply_slots: HashMap<Ticket, ReplySlot>,
    next_ticket: Ticket,
    socket: SocketState,
    /// The streams' tasks. Each ends when the status becomes `Stopped` or its reader is dropped.
    streams: JoinSet<()>,
}

type ConnectFuture = Pin<Box<dyn Future<Output = Result<Socket, Loss>> + Send>>;

enum SocketState {
    None,
    Opening(ConnectFuture),
    Open(Box<Socket>),
}

enum ConnectionProgress {
    Opened(Box<Socket>),
    Socket(SocketEvent),
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        endpoint: Arc<Endpoint>,
        commands: mpsc::Receiver<Command>,
        wake: Arc<Notify>,
        board: Arc<StatusBoard>,
    ) -> Self {
        Driver {
            core: Core::new(config),
            started: Instant::now(),
            endpoint,
            commands,
            wake,
            board,
            reply_slots: HashMap::new(),
            next_ticket: 0,
            socket: SocketState::None,
            streams: JoinSet::new(),
        }
    }

    /// Runs until the last handle is dropped, the client is closed, or a final error stops it.
    pub(crate) async fn run(mut self) {
        while self.run_actions().await {
            let is_read_paused = self.core.update_read_pause(self.now());
            let timeout = self.core.timeout().map(|at| self.started + at);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(command),
                    None => self.core.close(),
                },
                () = self.wake.notified() => self.core.check_readers(self.now()),
                progress = self.socket.next(is_read_paused) => self.on_progress(progress),
                () = at(timeout) => self.core.tick(self.now()),
                Some(_) = self.streams.join_next() => {}
            }
        }
        // The dropped reply channels resolve the remaining callers with the client's final error.
        self.commands.close();
        let streams_ended = async { while self.streams.join_next().await.is_some() {} };
        let _ended = timeout(SHUTDOWN_TIMEOUT, streams_ended).await;
    }

    /// Executes the core's pending actions; returns false once the client has stopped.
    async fn run_actions(&mut self) -> bool {
        let mut stopped = false;
        while let Some(action) = self.core.poll() {
            match action {
                Action::Open => {
                    let endpoint = self.endpoint.clone();
                    endpoint.anonymous(self.core.anonymous_token());
                    self.socket = SocketState::Opening(Box::pin(async move {
                        let headers = endpoint.headers().await.map_err(Loss::Failed)?;
                        Socket::open(&endpoint.address, headers).await
                    }));
                }
                Action::Disconnect => {
                    if let SocketState::Open(socket) = std::mem::replace(&mut self.socket, SocketState::None)
                    {
                        socket.close().await;
                    }
                }
                Action::Transmit(text) => {
                    if let SocketState::Open(socket) = &mut self.socket {
                        socket.queue(text);
                    }
                }
                Action::Ping => {
                    if let SocketState::Open(socket) = &mut self.socket {
                        socket.ping();
                    }
                }
                Action::Resolve(ticket, reply) => {
                    if let Some(ReplySlot { sender, permit }) = self.reply_slots.remove(&ticket) {
                        drop(permit);
                        // The caller may have dropped its future; nobody then waits for the reply.
                        let _sent = sender.send(reply);
                    }
                }
                Action::Status(status) => {
                    stopped = matches!(status, Status::Stopped(_));
                    self.endpoint.anonymous(self.core.anonymous_token());
                    self.board.socket(status);
                }
            }
        }
        !stopped
    }

    fn execute(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Start => self.core.start(now),
            Command::Join(joining, sender) => {
                let ticket = self.ticket(ReplySlot { sender, permit: None });
                self.core.join(now, joining, ticket);
            }
            Command::Stream(room) => {
                self.streams.spawn(room.run(self.board.watch(), self.board.stream()));
            }
            Command::Leave(room, reply) => {
                let ticket = self.ticket(reply);
                self.core.leave(now, &room, Some(ticket));
            }
            Command::Request { room, class, request, reply } => {
                let ticket = self.ticket(reply);
                self.core.request(now, room, class, request, ticket);
            }
            Command::Cast { room, request } => {
                if matches!(&self.socket, SocketState::Open(socket) if socket.queued() < MAX_QUEUED_CASTS) {
                    self.core.cast(&room, &request);
                }
            }
            Command::Close => self.core.close(),
        }
    }

    fn on_progress(&mut self, progress: ConnectionProgress) {
        let now = self.now();
        match progress {
            ConnectionProgress::Opened(socket) => {
                self.socket = SocketState::Open(socket);
                self.core.opened(now);
            }
            ConnectionProgress::Socket(SocketEvent::Text(text)) => self.core.text(now, &text),
            ConnectionProgress::Socket(SocketEvent::Control) => self.core.received(now),
            ConnectionProgress::Socket(SocketEvent::Lost(loss)) => {
                self.socket = SocketState::None;
                self.core.lost(now, loss);
            }
        }
    }

    fn ticket(&mut self, reply: ReplySlot) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.reply_slots.insert(self.next_ticket, reply);
        self.next_ticket
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl SocketState {
    /// Waits for the next event of the connection; while reading is paused, only writes.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost.
    async fn next(&mut self, is_read_paused: bool) -> ConnectionProgress {
        match self {
            SocketState::None => std::future::pending().await,
            SocketState::Opening(opening) => match opening.await {
                Ok(socket) => ConnectionProgress::Opened(Box::new(socket)),
                Err(loss) => ConnectionProgress::Socket(SocketEvent::Lost(loss)),
            },
            SocketState::Open(socket) if is_read_paused => ConnectionProgress::Socket(socket.write().await),
            SocketState::Open(socket) => ConnectionProgress::Socket(socket.next().await),
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
