//! [`RedisConnect`], the builder of a [`Redis`]: it parses the URLs, and makes the first connections.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use crate::{
    client::{Redis, Topology},
    cluster::RedisCluster,
    connection::{
        Certificates, Connector, ReconnectingConnection, SENTINEL_PORT, SENTINEL_TIMEOUT, Sentinels,
        ServerAddress, ServerTarget, Tls, Url,
    },
    error::RedisError,
    key_space::{DEFAULT_PREFIX, KeySpace},
};

/// A pending connection to Redis, with its options; awaiting it connects.
///
/// ```no_run
/// # use std::time::Duration;
/// # use dialogue::{Redis, redis::RedisError};
/// # async fn run() -> Result<(), RedisError> {
/// let redis = Redis::connect("redis://app:secret@10.0.0.7:6379/2")
///     .prefix("acme")
///     .response_timeout(Duration::from_secs(1))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until it is awaited"]
pub struct RedisConnect {
    to: Deployment,
    urls: Vec<String>,
    prefix: String,
    credentials: Option<(Option<String>, String)>,
    connect_timeout: Duration,
    response_timeout: Duration,
    certificates: Certificates,
}

/// The kind of servers that the URLs name.
enum Deployment {
    Standalone,
    Cluster,
    /// Sentinels, with the name of the primary that they monitor.
    Sentinel(String),
}

impl RedisConnect {
    pub(crate) fn standalone(url: String) -> Self {
        RedisConnect::new(Deployment::Standalone, vec![url])
    }

    pub(crate) fn cluster(urls: Vec<String>) -> Self {
        RedisConnect::new(Deployment::Cluster, urls)
    }

    pub(crate) fn sentinel(urls: Vec<String>, name: String) -> Self {
        RedisConnect::new(Deployment::Sentinel(name), urls)
    }

    fn new(to: Deployment, urls: Vec<String>) -> Self {
        RedisConnect {
            to,
            urls,
            prefix: DEFAULT_PREFIX.to_owned(),
            credentials: None,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(3),
            certificates: Certificates::default(),
        }
    }

    /// Sets the prefix of the names of all keys and channels, so that several applications can share a server; the
    /// default is `dialogue`. It has 1 to 64 characters of `A-Z`, `a-z`, `0-9`, `_`, `-`, `.` and `:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets the user and the password of the servers that Sentinels monitor; `None` is the default user. The default is
    /// to use those of the Sentinels, which are in the URLs.
    pub fn credentials(mut self, user: Option<&str>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.map(str::to_owned), password.into()));
        self
    }

    /// Sets the timeout for establishing a connection, including TLS and the handshake; the default is 3 s. Operations
    /// fail while there is no connection.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the timeout for a reply; the default is 3 s. A server that takes longer counts as unreachable, and the
    /// connection to it is made again.
    pub fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    async fn open(self) -> Result<Redis, RedisError> {
        let keys = KeySpace::new(&self.prefix)?;
        let route = match &self.to {
            Deployment::Standalone => {
                let url = self.urls.first().map_or("", String::as_str);
                let url = Url::parse(url)?;
                let connector = Arc::new(self.connector(&url)?);
                Topology::Standalone(
                    ReconnectingConnection::open(ServerTarget::Standalone(url.address), connector).await?,
                )
            }
            Deployment::Cluster => {
                let (url, nodes) = self.parse_urls(Url::parse)?;
                if url.database != 0 {
                    return Err(RedisError::configuration("a Cluster has no database but 0"));
                }
                Topology::Cluster(RedisCluster::open(nodes, Arc::new(self.connector(&url)?)).await?)
            }
            Deployment::Sentinel(name) => {
                let (url, addresses) = self.parse_urls(|url| Url::parse_with(url, SENTINEL_PORT))?;
                let mut connector = self.connector(&url)?;
                let mut sentinel_connector = self.connector(&Url { database: 0, ..url })?;
                sentinel_connector.connect_timeout = sentinel_connector.connect_timeout.min(SENTINEL_TIMEOUT);
                sentinel_connector.response_timeout =
                    sentinel_connector.response_timeout.min(SENTINEL_TIMEOUT);
                if let Some((user, password)) = &self.credentials {
                    connector.user.clone_from(user);
                    connector.password = Some(password.clone());
                }
                let sentinels = Sentinels { name: name.clone(), addresses, connector: sentinel_connector };
                Topology::Standalone(
                    ReconnectingConnection::open(
                        ServerTarget::SentinelPrimary(Arc::new(sentinels)),
                        Arc::new(connector),
                    )
                    .await?,
                )
            }
        };
        Ok(Redis::new(keys, route))
    }

    /// Parses the URLs of several servers; returns the first, and the addresses of all.
    fn parse_urls(
        &self,
        parse: impl Fn(&str) -> Result<Url, RedisError>,
    ) -> Result<(Url, Vec<ServerAddress>), RedisError> {
        let urls = self.urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let addresses = urls.iter().map(|url| url.address.clone()).collect();
        let mut urls = urls.into_iter();
        let Some(first) = urls.next() else {
            return Err(RedisError::configuration("no URL of Redis is given"));
        };
        let shared_parts = |url: &Url| (url.tls, url.user.clone(), url.password.clone(), url.database);
        if urls.any(|url| shared_parts(&url) != shared_parts(&first)) {
            return Err(RedisError::configuration(
                "the URLs of Redis differ in more than host and port: user, password, database and TLS must be the same",
            ));
        }
        Ok((first, addresses))
    }

    fn connector(&self, url: &Url) -> Result<Connector, RedisError> {
        Ok(Connector {
            user: url.user.clone(),
            password: url.password.clone(),
            database: url.database,
            tls: url.tls.then(|| Tls::new(&self.certificates)).transpose()?,
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
        })
    }
}

#[cfg(feature = "tls")]
impl RedisConnect {
    /// Trusts the CA certificates in this PEM text, instead of those that the system trusts. Applies to `rediss://`
    /// URLs (feature `redis-tls`).
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.ca_certificates = Some(pem.into());
        self
    }

    /// Authenticates by a client certificate: PEM texts of the certificate with its chain, and of its private key
    /// (feature `redis-tls`). Redis requires one unless it is configured with `tls-auth-clients no`.
    pub fn client_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.client_certificate = Some((chain.into(), key.into()));
        self
    }
}

impl IntoFuture for RedisConnect {
    type Output = Result<Redis, RedisError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl fmt::Debug for RedisConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Omits the URLs, which may hold a password.
        f.debug_struct("RedisConnect").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
