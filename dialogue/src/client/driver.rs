//! The driver of a client: the task that owns the WebSocket and carries out the effects of the sans-I/O core.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    core::{Action, Class, Config, Core, Joining, Loss, Reply, Ticket},
    endpoint::Endpoint,
    error::Error,
    frame::Request,
    status::{Board, Status},
    stream::StreamRoom,
    transport::websocket::{Event, Socket},
};

/// The number of frames queued for the socket beyond which frames without a response are dropped.
const CASTS: usize = 256;
/// The timeout of ending the event streams together with their client.
const FAREWELL: Duration = Duration::from_secs(1);

/// A command of a handle to the driver.
pub(crate) enum Command {
    /// Opens the connection, even if no request needs it yet.
    Start,
    Join(Joining, oneshot::Sender<Result<Reply, Error>>),
    Stream(Box<StreamRoom>),
    Leave(Arc<str>, Answer),
    Request {
        room: Option<Arc<str>>,
        class: Class,
        request: Request,
        answer: Answer,
    },
    Cast {
        room: Arc<str>,
        request: Request,
    },
    Close,
}

/// A pending request: the channel to its caller, and its permit.
pub(crate) struct Answer {
    pub(crate) to: oneshot::Sender<Result<Reply, Error>>,
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Driver {
    core: Core,
    born: Instant,
    endpoint: Arc<Endpoint>,
    commands: mpsc::Receiver<Command>,
    wake: Arc<Notify>,
    board: Arc<Board>,
    waiting: HashMap<Ticket, Answer>,
    next_ticket: Ticket,
    link: Link,
    /// The tasks of event streams. Each ends when the status is `Stopped` or its reader is dropped.
    streams: JoinSet<()>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Socket, Loss>> + Send>>;

enum Link {
    None,
    Opening(Opening),
    Open(Box<Socket>),
}

enum Happened {
    Opened(Box<Socket>),
    Socket(Event),
}

impl Driver {
    pub(crate) fn new(
        config: Config,
        endpoint: Arc<Endpoint>,
        commands: mpsc::Receiver<Command>,
        wake: Arc<Notify>,
        board: Arc<Board>,
    ) -> Self {
        Driver {
            core: Core::new(config),
            born: Instant::now(),
            endpoint,
            commands,
            wake,
            board,
            waiting: HashMap::new(),
            next_ticket: 0,
            link: Link::None,
            streams: JoinSet::new(),
        }
    }

    /// Runs until the last handle is dropped, the client is closed, or an error is final.
    pub(crate) async fn run(mut self) {
        while self.act().await {
            let rests = self.core.rests(self.now());
            let timeout = self.core.timeout().map(|at| self.born + at);
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => self.core.close(),
                },
                () = self.wake.notified() => self.core.sweep(self.now()),
                happened = self.link.next(rests) => self.happened(happened),
                () = at(timeout) => self.core.tick(self.now()),
                Some(_) = self.streams.join_next() => {}
            }
        }
        // Dropping the channels fails the pending requests: the client has stopped.
        self.commands.close();
        let farewell = async { while self.streams.join_next().await.is_some() {} };
        let _ended = timeout(FAREWELL, farewell).await;
    }

    /// Carries out the core's effects, and returns `false` once the core has stopped.
    async fn act(&mut self) -> bool {
        let mut stopped = false;
        while let Some(action) = self.core.poll() {
            match action {
                Action::Open => {
                    let endpoint = self.endpoint.clone();
                    endpoint.anonymous(self.core.anonymous_token());
                    self.link = Link::Opening(Box::pin(async move {
                        let headers = endpoint.headers().await.map_err(Loss::Failed)?;
                        Socket::open(&endpoint.address, headers).await
                    }));
                }
                Action::Shut => {
                    if let Link::Open(socket) = std::mem::replace(&mut self.link, Link::None) {
                        socket.close().await;
                    }
                }
                Action::Transmit(text) => {
                    if let Link::Open(socket) = &mut self.link {
                        socket.queue(text);
                    }
                }
                Action::Ping => {
                    if let Link::Open(socket) = &mut self.link {
                        socket.ping();
                    }
                }
                Action::Resolve(ticket, answer) => {
                    if let Some(Answer { to, slot }) = self.waiting.remove(&ticket) {
                        drop(slot);
                        // The caller may have dropped its future.
                        let _heard = to.send(answer);
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

    fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Start => self.core.start(now),
            Command::Join(joining, to) => {
                let ticket = self.ticket(Answer { to, slot: None });
                self.core.join(now, joining, ticket);
            }
            Command::Stream(room) => {
                self.streams.spawn(room.run(self.board.watch(), self.board.stream()));
            }
            Command::Leave(room, answer) => {
                let ticket = self.ticket(answer);
                self.core.leave(now, &room, Some(ticket));
            }
            Command::Request { room, class, request, answer } => {
                let ticket = self.ticket(answer);
                self.core.request(now, room, class, request, ticket);
            }
            Command::Cast { room, request } => {
                if matches!(&self.link, Link::Open(socket) if socket.queued() < CASTS) {
                    self.core.cast(&room, &request);
                }
            }
            Command::Close => self.core.close(),
        }
    }

    fn happened(&mut self, happened: Happened) {
        let now = self.now();
        match happened {
            Happened::Opened(socket) => {
                self.link = Link::Open(socket);
                self.core.opened(now);
            }
            Happened::Socket(Event::Text(text)) => self.core.text(now, &text),
            Happened::Socket(Event::Alive) => self.core.heard(now),
            Happened::Socket(Event::Lost(loss)) => {
                self.link = Link::None;
                self.core.lost(now, loss);
            }
        }
    }

    fn ticket(&mut self, answer: Answer) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.waiting.insert(self.next_ticket, answer);
        self.next_ticket
    }

    fn now(&self) -> Duration {
        self.born.elapsed()
    }
}

impl Link {
    /// Waits for the next event of the connection. The connection isn't read while the core pauses it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no frame is lost.
    async fn next(&mut self, rests: bool) -> Happened {
        match self {
            Link::None => std::future::pending().await,
            Link::Opening(opening) => match opening.await {
                Ok(socket) => Happened::Opened(Box::new(socket)),
                Err(loss) => Happened::Socket(Event::Lost(loss)),
            },
            Link::Open(socket) if rests => Happened::Socket(socket.write().await),
            Link::Open(socket) => Happened::Socket(socket.next().await),
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
