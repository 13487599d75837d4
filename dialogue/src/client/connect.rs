//! The builder of a client.

use std::{
    fmt,
    future::{Future, IntoFuture},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{
    Client, Shared,
    core::Config,
    driver::{Command, Driver},
    endpoint::{Endpoint, Token},
    error::Error,
    status::{Board, Status},
    transport::Address,
};

/// The maximum bytes of the events that a room buffers for its reader.
const BUFFER_BYTES: usize = 4 << 20;
/// The capacity of the queue of commands to the driver.
const COMMANDS: usize = 64;

/// The builder of a client, which connects when it is awaited.
///
/// ```no_run
/// # use std::time::Duration;
/// # #[dialogue::event]
/// # pub struct Message { pub text: String }
/// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket] }
/// # async fn run() -> Result<(), dialogue::client::Error> {
/// # async fn renew() -> std::io::Result<String> { Ok(String::new()) }
/// let client = AcmeClient::connect("ws://localhost:3000/api")
///     .token_from(|| renew())
///     .deadline(Duration::from_secs(10))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until it is awaited"]
pub struct Connect<C> {
    url: String,
    headers: HeaderMap,
    token: Token,
    config: Config,
    buffer: usize,
    client: PhantomData<fn() -> C>,
}

impl<C: From<Client>> Connect<C> {
    pub(crate) fn new(url: String) -> Self {
        let config = Config {
            pending: 256,
            deadline: Duration::from_secs(30),
            backoff: (Duration::from_millis(250), Duration::from_secs(30)),
            opening: Duration::from_secs(15),
            idle: Duration::from_secs(25),
            patience: Duration::from_secs(10),
            eager: true,
            token: super::core::TokenSource::None,
            seed: fastrand::u64(..),
        };
        let headers = HeaderMap::new();
        Connect { url, headers, token: Token::None, config, buffer: 1024, client: PhantomData }
    }

    /// Sends this token with every connection. When the server no longer accepts it, the client stops with
    /// [`ErrorKind::Unauthenticated`](super::ErrorKind::Unauthenticated); see [`Client::authenticate`].
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(Mutex::new(token.into()));
        self
    }

    /// Calls a function for a token before every connection. After a rejected token it is called again, up to three
    /// times in a row. An error of the function counts as a failed connection.
    pub fn token_from<F, T, E>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.token = Token::asked(ask);
        self
    }

    /// Adds a header, such as a cookie, to every handshake and request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the maximum number of requests without a response, sends above all: 256 by default. Beyond it, a send waits
    /// while the client is connected, and fails at once while it isn't.
    pub fn offline_queue(mut self, requests: usize) -> Self {
        self.config.pending = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the time in which a request must get its response, reconnects and retries included: 30 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self
    }

    /// Sets the first and the maximum delay between attempts to connect: 250 ms and 30 s by default. Each delay is
    /// twice the last one, and half of it is random (exponential backoff with jitter).
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff = (min, max);
        self
    }

    /// Sets the timeout of an attempt to connect: 15 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.opening = timeout;
        self
    }

    /// Sets the keep-alive: after `idle` without a frame the client sends a ping, and after another `pong_timeout`
    /// without a frame it reconnects: 25 s and 10 s by default. While the client doesn't read because a reader is
    /// behind, it pings at least every 5 s.
    pub fn keep_alive(mut self, idle: Duration, pong_timeout: Duration) -> Self {
        self.config.idle = idle;
        self.config.patience = pong_timeout;
        self
    }

    /// Sets the maximum number of events that each room buffers for its reader: 1,024 by default, and at most 4 MiB.
    /// Beyond it, the connection isn't read while nothing else needs it (back pressure): see [the
    /// module](crate::client#what-is-bounded).
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events.max(1);
        self
    }

    /// Connects only when a request needs the connection, and retries without end: awaiting the builder doesn't wait
    /// for the server. A client whose rooms all come over Server-Sent Events never opens a WebSocket then.
    pub fn lazy(mut self) -> Self {
        self.config.eager = false;
        self
    }

    async fn open(self) -> Result<C, Error> {
        let Connect { url, headers, token, mut config, buffer, .. } = self;
        let address = Address::parse(&url)?;
        config.token = token.source();
        let endpoint = Arc::new(Endpoint::new(address, headers, token));
        let (commands, orders) = mpsc::channel(COMMANDS);
        let board = Arc::new(Board::new());
        let mut status = board.watch();
        let wake = Arc::new(Notify::new());
        let driver = Driver::new(config.clone(), endpoint.clone(), orders, wake.clone(), board);
        // The handles own the task: it ends, within its timeouts, when their last sender is dropped.
        tokio::spawn(driver.run());
        let shared = Shared {
            commands,
            status: status.clone(),
            wake,
            slots: Arc::new(Semaphore::new(config.pending)),
            endpoint,
            buffer: (buffer, BUFFER_BYTES),
            config,
        };
        let client = Client { shared: Arc::new(shared) };
        if client.shared.config.eager {
            client.order(Command::Start).await?;
            let settled = |status: &Status| matches!(status, Status::Online(_) | Status::Stopped(_));
            // The driver sets `Stopped` before it ends.
            if let Ok(Status::Stopped(error)) = status.wait_for(settled).await.as_deref() {
                return Err(error.clone());
            }
        }
        Ok(client.into())
    }
}

impl<C: From<Client> + 'static> IntoFuture for Connect<C> {
    type Output = Result<C, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Connects, and waits for the server's `connected`. If the first attempt fails (a wrong address, an invalid or
    /// missing token), that is an error at once, unless the client is [`lazy`](Connect::lazy).
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl<C> fmt::Debug for Connect<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("url", &self.url)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
