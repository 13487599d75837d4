//! Making a client.

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

/// Bytes that a room holds for its reader.
const BUFFER_BYTES: usize = 4 << 20;
/// Commands on their way to the driver.
const COMMANDS: usize = 64;

/// Opens a client; await it.
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

    /// Shows this token at every connection. When the server no longer accepts it, the client stops with
    /// [`ErrorKind::Unauthenticated`](super::ErrorKind::Unauthenticated); see [`Client::authenticate`].
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Token::Fixed(Mutex::new(token.into()));
        self
    }

    /// Asks for a token before every connection. One that is rejected is asked for anew, up to three times in a row; a
    /// failure to get one counts as a failed connection.
    pub fn token_from<F, T, E>(mut self, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<String>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.token = Token::asked(ask);
        self
    }

    /// Sends a header with every handshake and request, such as a cookie.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// How many requests may wait for their answer, sends above all: 256 unless said. Beyond that, a send fails at once
    /// while there is no connection, and waits while there is one.
    pub fn offline_queue(mut self, requests: usize) -> Self {
        self.config.pending = requests.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a request may wait for its answer, over reconnects and retries: 30 s unless said.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self
    }

    /// The first and the longest delay between attempts to connect: 250 ms and 30 s unless said. Each is double the
    /// last one; half of it is chance.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.config.backoff = (min, max);
        self
    }

    /// How long a connection may take to come about: 15 s unless said.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.opening = timeout;
        self
    }

    /// Takes a silent connection for dead: after `idle` without a frame the client pings, and `patience` later it
    /// reconnects. 25 s and 10 s unless said. While it reads nothing, since its reader is behind, it pings every 5 s at
    /// least.
    pub fn keep_alive(mut self, idle: Duration, patience: Duration) -> Self {
        self.config.idle = idle;
        self.config.patience = patience;
        self
    }

    /// How many events each room holds for its reader: 1,024 unless said, and 4 MiB. Beyond, the connection is not read while
    /// nothing else needs it, so that the server waits with the reader: see [the module](crate::client#what-is-bounded).
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events.max(1);
        self
    }

    /// Connects when something needs it, and goes on trying: awaiting this does not wait for the server. A client whose
    /// rooms all come over Server-Sent Events so never opens a WebSocket.
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
        // Owned by its handles: it ends, in bounded time, when their last sender is gone.
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
            // The driver says `Stopped` before it goes.
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

    /// Connects, and waits for the server's welcome. The first attempt decides: a wrong address, a wrong token, or none where
    /// the server requires one is an error at once, unless the client is [`lazy`](Connect::lazy).
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
