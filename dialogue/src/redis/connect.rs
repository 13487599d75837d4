//! Making a connection.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

#[cfg(feature = "redis-tls")]
use super::tls::{Certificates, Tls};
use super::{
    Redis, RedisError, Route,
    cluster::Cluster,
    dial::Dialer,
    keys::{Keys, PREFIX},
    link::Link,
    place::Place,
    sentinel::{self, Sentinels},
    url::{Address, SENTINEL_PORT, Url},
};

/// Connects to Redis; await it.
///
/// ```no_run
/// # use std::time::Duration;
/// # use dialogue::{Redis, RedisError};
/// # async fn run() -> Result<(), RedisError> {
/// let redis = Redis::connect("redis://app:secret@10.0.0.7:6379/2")
///     .prefix("acme")
///     .answer_within(Duration::from_secs(1))
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing happens until it is awaited"]
pub struct RedisConnect {
    to: Deployment,
    urls: Vec<String>,
    prefix: String,
    credentials: Option<(Option<String>, String)>,
    connect_within: Duration,
    answer_within: Duration,
    #[cfg(feature = "redis-tls")]
    certificates: Certificates,
}

/// What kind of servers the URLs name.
enum Deployment {
    Alone,
    Cluster,
    /// Sentinels, and what they call the primary.
    Sentinel(String),
}

impl RedisConnect {
    pub(super) fn alone(url: String) -> Self {
        RedisConnect::new(Deployment::Alone, vec![url])
    }

    pub(super) fn cluster(urls: Vec<String>) -> Self {
        RedisConnect::new(Deployment::Cluster, urls)
    }

    pub(super) fn sentinel(urls: Vec<String>, name: String) -> Self {
        RedisConnect::new(Deployment::Sentinel(name), urls)
    }

    fn new(to: Deployment, urls: Vec<String>) -> Self {
        RedisConnect {
            to,
            urls,
            prefix: PREFIX.to_owned(),
            credentials: None,
            connect_within: Duration::from_secs(3),
            answer_within: Duration::from_secs(3),
            #[cfg(feature = "redis-tls")]
            certificates: Certificates::default(),
        }
    }

    /// What the names of all keys and channels begin with, so that several applications share a server: `dialogue`
    /// unless said. Up to 64 characters of `A-Z`, `a-z`, `0-9`, `_`, `-`, `.` and `:`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The user and the password of the servers behind Sentinels, where they are other than those of the Sentinels, which
    /// stand in the URLs. `None` is the default user.
    pub fn credentials(mut self, user: Option<&str>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.map(str::to_owned), password.into()));
        self
    }

    /// How long a connection may take to come about, with TLS and greeting: 3 s unless said. While it has not, what
    /// needs it fails.
    pub fn connect_within(mut self, within: Duration) -> Self {
        self.connect_within = within;
        self
    }

    /// How long an answer may take: 3 s unless said. A server that takes longer counts as lost, and is connected to anew.
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within;
        self
    }

    /// Trusts the certificates in this PEM text as CAs, and not what the system trusts. For `rediss://` URLs.
    #[cfg(feature = "redis-tls")]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.certificates.roots = Some(pem.into());
        self
    }

    /// Shows this certificate (with its chain) and proves it by the private key, both PEM texts: Redis asks for one unless
    /// it is configured with `tls-auth-clients no`.
    #[cfg(feature = "redis-tls")]
    pub fn client_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificates.own = Some((chain.into(), key.into()));
        self
    }

    async fn open(self) -> Result<Redis, RedisError> {
        let keys = Keys::new(&self.prefix)?;
        let route = match &self.to {
            Deployment::Alone => {
                let url = self.urls.first().map_or("", String::as_str);
                let url = Url::parse(url)?;
                let dialer = Arc::new(self.dialer(&url)?);
                Route::Alone(Link::open(Place::Alone(url.address), dialer).await?)
            }
            Deployment::Cluster => {
                let (url, nodes) = self.several(Url::parse)?;
                if url.database != 0 {
                    return Err(RedisError::configuration("a Cluster has no database but 0"));
                }
                Route::Cluster(Cluster::open(nodes, Arc::new(self.dialer(&url)?)).await?)
            }
            Deployment::Sentinel(name) => {
                let (url, addresses) = self.several(|url| Url::parse_with(url, SENTINEL_PORT))?;
                let mut dialer = self.dialer(&url)?;
                let mut asks = self.dialer(&Url { database: 0, ..url })?;
                asks.connect_within = asks.connect_within.min(sentinel::WITHIN);
                asks.answer_within = asks.answer_within.min(sentinel::WITHIN);
                if let Some((user, password)) = &self.credentials {
                    dialer.user.clone_from(user);
                    dialer.password = Some(password.clone());
                }
                let sentinels = Sentinels { name: name.clone(), addresses, dialer: asks };
                Route::Alone(Link::open(Place::Named(Arc::new(sentinels)), Arc::new(dialer)).await?)
            }
        };
        Ok(Redis::new(keys, route))
    }

    /// What the URLs of several servers say together: the first of them, and every address.
    fn several(
        &self,
        parse: impl Fn(&str) -> Result<Url, RedisError>,
    ) -> Result<(Url, Vec<Address>), RedisError> {
        let urls = self.urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let addresses = urls.iter().map(|url| url.address.clone()).collect();
        let mut urls = urls.into_iter();
        let Some(first) = urls.next() else {
            return Err(RedisError::configuration("no URL of Redis is given"));
        };
        let says = |url: &Url| (url.tls, url.user.clone(), url.password.clone(), url.database);
        if urls.any(|url| says(&url) != says(&first)) {
            return Err(RedisError::configuration(
                "the URLs of Redis differ in more than host and port: user, password, database and TLS are one for all",
            ));
        }
        Ok((first, addresses))
    }

    fn dialer(&self, url: &Url) -> Result<Dialer, RedisError> {
        Ok(Dialer {
            user: url.user.clone(),
            password: url.password.clone(),
            database: url.database,
            #[cfg(feature = "redis-tls")]
            tls: url.tls.then(|| Tls::new(&self.certificates)).transpose()?,
            connect_within: self.connect_within,
            answer_within: self.answer_within,
        })
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
        // The URLs may hold a password.
        f.debug_struct("RedisConnect").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
