//! One connection to one server.

use std::{convert::Infallible, fmt::Write, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ErrorKind, ProtocolVersion, PushInfo, RedisConnectionInfo, Value,
    aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

#[cfg(feature = "redis-tls")]
use super::tls::Tls;
use super::{RedisError, RedisErrorKind, error::advice, reply::text, url::Address};

/// How connections to the servers of one deployment are made.
pub(super) struct Dialer {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
    #[cfg(feature = "redis-tls")]
    pub(super) tls: Option<Tls>,
    /// How long a connection may take to come about, all in all.
    pub(super) connect_within: Duration,
    /// How long an answer may take.
    pub(super) answer_within: Duration,
}

/// A connection, and what must be polled for it to do anything.
pub(super) struct Dialled {
    pub(super) commands: MultiplexedConnection,
    /// Ends when the connection does.
    pub(super) driver: Driver,
    pub(super) server: Server,
}

/// Takes what a server says unasked; it must not wait.
pub(super) type Pushes = Arc<dyn Fn(PushInfo) + Send + Sync>;

pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a server says of itself.
#[derive(Debug, Default)]
pub(super) struct Server {
    version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(super) mode: String,
    /// `master` or `replica`; a Sentinel has none.
    role: String,
}

/// Requests that wait for the connection's task; as a bound it is never what limits.
const REQUESTS: usize = 256;
/// The oldest version that has sharded channels, and ids of a stream whose second part it makes.
const OLDEST: i64 = 7;

impl Dialer {
    /// Connects, and shows who we are.
    ///
    /// Cancel safe.
    pub(super) async fn dial(
        &self,
        address: &Address,
        pushes: Option<Pushes>,
    ) -> Result<Dialled, RedisError> {
        let dialled = timeout(self.connect_within, async {
            let stream = self.stream(address).await?;
            self.greet(address, stream, pushes).await
        });
        dialled.await.unwrap_or_else(|_| {
            let advice = match self.encrypts() {
                true => "is this its TLS port?",
                false => advice(&io::ErrorKind::TimedOut.into()),
            };
            let message =
                format!("Redis at {address} did not answer within {:?}; {advice}", self.connect_within);
            Err(RedisError::new(RedisErrorKind::Unreachable, message))
        })
    }

    async fn stream(&self, address: &Address) -> Result<Box<dyn Stream>, RedisError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| {
            let message = format!("can't reach Redis at {address}: {error}; {}", advice(&error));
            RedisError::caused(RedisErrorKind::Unreachable, message, error)
        })?;
        // Small requests that somebody waits for.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        #[cfg(feature = "redis-tls")]
        if let Some(tls) = &self.tls {
            return tls.wrap(&address.host, stream).await.map_err(|error| {
                let message = format!(
                    "no TLS with Redis at {address}: {error}; is this its TLS port, does its certificate name \
                     `{}`, and is its CA trusted here or given by `ca_pem`?",
                    address.host
                );
                RedisError::caused(RedisErrorKind::Tls, message, error)
            });
        }
        Ok(Box::new(stream))
    }

    async fn greet(
        &self,
        address: &Address,
        stream: Box<dyn Stream>,
        pushes: Option<Pushes>,
    ) -> Result<Dialled, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.answer_within))
            .set_pipeline_buffer_size(REQUESTS);
        if let Some(pushes) = pushes {
            config = config.set_push_sender(move |push| {
                pushes(push);
                Ok::<_, Infallible>(())
            });
        }
        let (mut commands, driver) = MultiplexedConnection::new_with_config(&self.identity(), stream, config)
            .await
            .map_err(|error| self.refused(address, error))?;
        let mut driver: Driver = Box::pin(driver);
        let mut hello = redis::cmd("HELLO");
        hello.arg("3");
        let said = tokio::select! {
            said = commands.send_packed_command(&hello) => said.map_err(|error| self.refused(address, error))?,
            () = &mut driver => return Err(self.refused(address, io::Error::from(io::ErrorKind::UnexpectedEof).into())),
        };
        Ok(Dialled { commands, driver, server: Server::from_hello(&said) })
    }

    fn identity(&self) -> RedisConnectionInfo {
        let mut identity = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database.into())
            .set_lib_name("dialogue", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            identity = identity.set_username(user);
        }
        if let Some(password) = &self.password {
            identity = identity.set_password(password);
        }
        identity
    }

    /// Says what came of the greeting. The server's own words hold no password.
    fn refused(&self, address: &Address, error: redis::RedisError) -> RedisError {
        if error.is_io_error() || error.is_unrecoverable_error() && error.code().is_none() {
            let mut message = format!("Redis at {address} broke off the greeting: {error}");
            let _ = match self.encrypts() {
                true => write!(message, "; does it want a client's certificate, given by `client_pem`?"),
                false => {
                    write!(
                        message,
                        "; if this is its TLS port, write rediss://, and if it is none of Redis, another"
                    )
                }
            };
            return RedisError::caused(RedisErrorKind::Unreachable, message, error);
        }
        let said = error.detail().unwrap_or_default().to_owned();
        let said = if said.is_empty() { error.to_string() } else { said };
        let who = match &self.user {
            Some(user) => format!("user `{user}`"),
            None => "the default user".to_owned(),
        };
        let message = if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS")
        {
            format!(
                "Redis at {address} does not accept {who} with the password given: {said}; \
                 both stand in the URL, redis://USER:PASSWORD@HOST"
            )
        } else if error.code() == Some("NOAUTH") {
            format!("Redis at {address} wants a password: write it into the URL, redis://USER:PASSWORD@HOST")
        } else {
            format!("Redis at {address} refuses {who} or database {}: {said}", self.database)
        };
        RedisError::caused(RedisErrorKind::Denied, message, error)
    }

    fn encrypts(&self) -> bool {
        #[cfg(feature = "redis-tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "redis-tls"))]
        false
    }
}

impl Server {
    fn from_hello(said: &Value) -> Self {
        let mut server = Server::default();
        let Value::Map(fields) = said else { return server };
        for (name, value) in fields {
            let value = text(value).unwrap_or_default().to_owned();
            match text(name) {
                Some("version") => server.version = value,
                Some("mode") => server.mode = value,
                Some("role") => server.role = value,
                _ => {}
            }
        }
        server
    }

    /// Whether it can be used at all, as a server of the kind `mode`.
    pub(super) fn fits(&self, address: &Address, mode: &str) -> Result<(), RedisError> {
        let unfit = |message| Err(RedisError::new(RedisErrorKind::Unfit, message));
        let major = self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < OLDEST {
            return unfit(format!(
                "the server at {address} is Redis {}: Dialogue needs {OLDEST}.0 or newer, or Valkey",
                self.version
            ));
        }
        if self.mode == mode {
            return Ok(());
        }
        unfit(match self.mode.as_str() {
            "cluster" => format!("the server at {address} is a node of a Cluster: use `Redis::cluster`"),
            "sentinel" => format!("the server at {address} is a Sentinel: use `Redis::sentinel`"),
            _ => format!("the server at {address} stands alone, and is no {mode}: use `Redis::connect`"),
        })
    }

    /// Whether it takes writes.
    pub(super) fn is_primary(&self, address: &Address) -> Result<(), RedisError> {
        if self.role == "master" {
            return Ok(());
        }
        let message = format!("Redis at {address} is a replica, which takes no writes: name its primary");
        Err(RedisError::new(RedisErrorKind::Unfit, message))
    }
}
