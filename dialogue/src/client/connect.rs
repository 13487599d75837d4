//! The builder of a client ([`Connect`]): address, credentials, timeouts and bounds. Awaiting it spawns the
//! [driver](super::driver)'s task.

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
    status::{Status, StatusBoard},
    transport::Address,
};

/// Default bound, in bytes, of each room's buffer: 4 MiB.
const BUFFER_BYTES: usize = 4 << 20;
/// Capacity of the channel from the client's handles to the driver.
const COMMAND_QUEUE_LEN: usize = 64;

/// Configures and opens a client when awaited.
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
            max_pending: 256,
            deadline: Duration::from_secs(30),
            backoff: (Duration::from_millis(250), Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(15),
            idle: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            eager: true,
            token: super::core::TokenSource::None,
            seed: fastrand::u64(..),
        };
        let headers = HeaderMap::new();
        Connect { url, headers, token: Token::None, config, buffer: 1024, client: PhantomData }
    }

    /// Sends this token as the bearer token (RFC 6750) of every connection. When the server no longer accepts it, the
    /// client stops with [`ErrorKind::Unauthenticated`](super::ErrorKind::Unauthenticated); [`Client::authenticate`]
    /// replaces it before it expires.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(Mutex::new(token.into()));
        self
    }

    /// Calls `request_token` before every connection. After a rejected token it is called again; three rejected tokens
    /// in a row stop the client with [`ErrorKind::Unauthenticated`](super::ErrorKind::Unauthenticated). An error of
    /// `request_token` counts as a failed connection attempt.
    pub fn token_from<F, T, E>(mut self, request_token: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.token = Token::from_fn(request_token);
        self
    }

    /// Adds a header to every handshake and HTTP request, such as a cookie.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Bounds the requests without a response, mostly sends: 256 by default, at least 1. A request beyond the bound
    /// fails at once with [`ErrorKind::QueueFull`](super::ErrorKind::QueueFull) while there is no connection, and waits
    /// while there is one.
    pub fn offline_queue(mut self, requests: usize) -> Self {
        self.config.max_pending = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Bounds the time from a request to its response, including reconnects and retries: 30 s by default. After it, the
    /// request fails with [`ErrorKind::Deadline`](super::ErrorKind::Deadline).
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self
    }

    /// Sets the first and the longest delay between connection attempts: 250 ms and 30 s by default. The delay doubles
    /// with every failed attempt; half of it is random (equal jitter).
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff = (min, max);
        self
    }

    /// Bounds the time that one connection attempt takes, up to the server's `connected` frame: 15 s by default.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets the timeouts that detect a dead connection: after `idle` without a frame the client sends a ping, and when
    /// nothing arrives for another `pong_timeout` it reconnects. The defaults are 25 s and 10 s. While reading is
    /// paused because an application reads too slowly, the client sends a ping at least every 5 s.
    pub fn keep_alive(mut self, idle: Duration, pong_timeout: Duration) -> Self {
        self.config.idle = idle;
        self.config.pong_timeout = pong_timeout;
        self
    }

    /// Bounds the events that each room buffers for its reader: 1,024 by default, and always 4 MiB. A full buffer
    /// pauses reading from the connection while nothing else needs it, which puts backpressure on the server: see [the
    /// module](crate::client#what-is-bounded).
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events.max(1);
        self
    }

    /// Connects on first use instead of at once, and retries a failed first attempt. Awaiting a lazy client does not
    /// wait for the server; a lazy client that only joins rooms over Server-Sent Events never opens a WebSocket.
    pub fn lazy(mut self) -> Self {
        self.config.eager = false;
        self
    }

    async fn open(self) -> Result<C, Error> {
        let Connect { url, headers, token, mut config, buffer, .. } = self;
        let address = Address::parse(&url)?;
        config.token = token.source();
        let endpoint = Arc::new(Endpoint::new(address, headers, token));
        let (commands, command_receiver) = mpsc::channel(COMMAND_QUEUE_LEN);
        let board = Arc::new(StatusBoard::new());
        let mut status = board.watch();
        let wake = Arc::new(Notify::new());
        let driver = Driver::new(config.clone(), endpoint.clone(), command_receiver, wake.clone(), board);
        // The handles own the task: it ends, in bounded time, when the last command sender is dropped.
        tokio::spawn(driver.run());
        let shared = Shared {
            commands,
            status: status.clone(),
            wake,
            permits: Arc::new(Semaphore::new(config.max_pending)),
            endpoint,
            buffer: (buffer, BUFFER_BYTES),
            config,
        };
        let client = Client { shared: Arc::new(shared) };
        if client.shared.config.eager {
            client.submit(Command::Start).await?;
            let settled = |status: &Status| matches!(status, Status::Online(_) | Status::Stopped(_));
            // The driver publishes `Stopped` before its task ends.
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

    /// Connects, and waits for the server's `connected` frame. The first attempt is not retried: a wrong address, a
    /// wrong token, or a missing token that the server requires is returned as an error at once, unless the client is
    /// [`lazy`](Connect::lazy).
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
