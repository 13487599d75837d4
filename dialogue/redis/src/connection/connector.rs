//! Making one connection to one server: TCP, TLS, and the handshake of the
//! [RESP3 protocol](https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md) (`HELLO 3`).

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

use super::{tls::Tls, url::ServerAddress};
use crate::{
    command::reply::text,
    error::{RedisError, RedisErrorKind, advice},
};

/// The options with which connections to the servers of one deployment are made.
pub(crate) struct Connector {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) database: u32,
    pub(crate) tls: Option<Tls>,
    /// The timeout for a connection, including TLS and the handshake.
    pub(crate) connect_timeout: Duration,
    /// The timeout for a reply.
    pub(crate) response_timeout: Duration,
}

/// A connection after the handshake.
pub(crate) struct FreshConnection {
    pub(crate) commands: MultiplexedConnection,
    /// The future that does the connection's I/O and must be polled; it ends with the connection.
    pub(crate) driver: ConnectionDriver,
    pub(crate) server: ServerInfo,
}

/// A callback for the protocol's push messages; it must not block.
pub(crate) type PushHandler = Arc<dyn Fn(PushInfo) + Send + Sync>;

pub(crate) type ConnectionDriver = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// The properties of a server, from its reply to `HELLO`.
#[derive(Debug, Default)]
pub(crate) struct ServerInfo {
    version: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub(crate) mode: String,
    /// `master` or `replica`; empty for a Sentinel.
    role: String,
}

/// The capacity of the queue to the connection's driver. The callers bound the requests in flight more strictly.
const MAX_PENDING_REQUESTS: usize = 256;
/// The oldest major version with sharded Pub/Sub and with stream ids of the form `EPOCH-*`.
const MIN_MAJOR_VERSION: i64 = 7;

impl Connector {
    /// Connects and authenticates, within the connect timeout. A dropped call closes the connection.
    pub(crate) async fn connect(
        &self,
        address: &ServerAddress,
        push_handler: Option<PushHandler>,
    ) -> Result<FreshConnection, RedisError> {
        let connection = timeout(self.connect_timeout, async {
            let stream = self.open_stream(address).await?;
            self.handshake(address, stream, push_handler).await
        });
        connection.await.unwrap_or_else(|_| {
            let advice = match self.uses_tls() {
                true => "is this its TLS port?",
                false => advice(&io::ErrorKind::TimedOut.into()),
            };
            let message =
                format!("Redis at {address} did not answer within {:?}; {advice}", self.connect_timeout);
            Err(RedisError::new(RedisErrorKind::Unreachable, message))
        })
    }

    async fn open_stream(&self, address: &ServerAddress) -> Result<Box<dyn ByteStream>, RedisError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| {
            let message = format!("can't reach Redis at {address}: {error}; {}", advice(&error));
            RedisError::caused(RedisErrorKind::Unreachable, message, error)
        })?;
        // Requests are small and latency matters, so that Nagle's algorithm only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "can't set TCP_NODELAY");
        }
        if let Some(tls) = &self.tls {
            return tls.wrap(&address.host, stream).await.map_err(|error| {
                let message = format!(
                    "can't negotiate TLS with Redis at {address}: {error}; is this its TLS port, does its certificate name \
                     `{}`, and is its CA trusted here or given by `ca_pem`?",
                    address.host
                );
                RedisError::caused(RedisErrorKind::Tls, message, error)
            });
        }
        Ok(Box::new(stream))
    }

    async fn handshake(
        &self,
        address: &ServerAddress,
        stream: Box<dyn ByteStream>,
        push_handler: Option<PushHandler>,
    ) -> Result<FreshConnection, RedisError> {
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(MAX_PENDING_REQUESTS);
        if let Some(push_handler) = push_handler {
            config = config.set_push_sender(move |push| {
                push_handler(push);
                Ok::<_, Infallible>(())
            });
        }
        let (mut commands, driver) =
            MultiplexedConnection::new_with_config(&self.connection_info(), stream, config)
                .await
                .map_err(|error| self.handshake_error(address, error))?;
        let mut driver: ConnectionDriver = Box::pin(driver);
        let mut hello = redis::cmd("HELLO");
        hello.arg("3");
        let reply = tokio::select! {
            reply = commands.send_packed_command(&hello) => reply.map_err(|error| self.handshake_error(address, error))?,
            () = &mut driver => return Err(self.handshake_error(address, io::Error::from(io::ErrorKind::UnexpectedEof).into())),
        };
        Ok(FreshConnection { commands, driver, server: ServerInfo::from_hello(&reply) })
    }

    fn connection_info(&self) -> RedisConnectionInfo {
        let mut connection_info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(self.database.into())
            .set_lib_name("dialogue", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.user {
            connection_info = connection_info.set_username(user);
        }
        if let Some(password) = &self.password {
            connection_info = connection_info.set_password(password);
        }
        connection_info
    }

    /// Returns the error for a failed handshake. The server's own text holds no password.
    fn handshake_error(&self, address: &ServerAddress, error: redis::RedisError) -> RedisError {
        if error.is_io_error() || error.is_unrecoverable_error() && error.code().is_none() {
            let mut message =
                format!("Redis at {address} closed the connection during the handshake: {error}");
            let _ = match self.uses_tls() {
                true => write!(message, "; does it require a client certificate, given by `client_pem`?"),
                false => {
                    write!(
                        message,
                        "; if this is its TLS port, write rediss://, and if it isn't a port of Redis, another"
                    )
                }
            };
            return RedisError::caused(RedisErrorKind::Unreachable, message, error);
        }
        let reply = error.detail().unwrap_or_default().to_owned();
        let reply = if reply.is_empty() { error.to_string() } else { reply };
        let user = match &self.user {
            Some(user) => format!("user `{user}`"),
            None => "the default user".to_owned(),
        };
        let message = if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS")
        {
            format!(
                "Redis at {address} does not accept {user} with the password given: {reply}; \
                 set both in the URL, redis://USER:PASSWORD@HOST"
            )
        } else if error.code() == Some("NOAUTH") {
            format!("Redis at {address} wants a password: write it into the URL, redis://USER:PASSWORD@HOST")
        } else {
            format!("Redis at {address} refuses {user} or database {}: {reply}", self.database)
        };
        RedisError::caused(RedisErrorKind::Denied, message, error)
    }

    fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }
}

impl ServerInfo {
    fn from_hello(reply: &Value) -> Self {
        let mut server = ServerInfo::default();
        let Value::Map(fields) = reply else { return server };
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

    /// Checks that the server is recent enough and runs in this mode.
    pub(crate) fn check_mode(&self, address: &ServerAddress, mode: &str) -> Result<(), RedisError> {
        let unsupported = |message| Err(RedisError::new(RedisErrorKind::Unsupported, message));
        let major = self.version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major < MIN_MAJOR_VERSION {
            return unsupported(format!(
                "the server at {address} is Redis {}: Dialogue needs {MIN_MAJOR_VERSION}.0 or newer, or Valkey",
                self.version
            ));
        }
        if self.mode == mode {
            return Ok(());
        }
        unsupported(match self.mode.as_str() {
            "cluster" => format!("the server at {address} is a node of a Cluster: use `Redis::cluster`"),
            "sentinel" => format!("the server at {address} is a Sentinel: use `Redis::sentinel`"),
            _ => {
                format!("the server at {address} is a standalone server, not a {mode}: use `Redis::connect`")
            }
        })
    }

    /// Checks that the server is a primary, which accepts writes.
    pub(crate) fn check_primary(&self, address: &ServerAddress) -> Result<(), RedisError> {
        if self.role == "master" {
            return Ok(());
        }
        let message = format!("Redis at {address} is a replica, which takes no writes: name its primary");
        Err(RedisError::new(RedisErrorKind::Unsupported, message))
    }
}
