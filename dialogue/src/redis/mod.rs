//! Redis and Valkey: connections that come back by themselves, to one server, the one that Sentinels name, or a Cluster.
//!
//! Knows keys, commands and scripts, and nothing of rooms.

mod backoff;
mod cluster;
mod condition;
mod connect;
mod dial;
mod ear;
mod error;
mod eviction;
mod failure;
mod keys;
mod link;
mod parcel;
mod place;
pub(crate) mod reply;
mod script;
mod sentinel;
mod slot;
mod slots;
mod subscriber;
#[cfg(feature = "redis-tls")]
mod tls;
mod url;

use std::{fmt, sync::Arc};

use redis::{Cmd, Value};

use cluster::Cluster;
pub use connect::RedisConnect;
pub(crate) use ear::Heard;
pub use error::{RedisError, RedisErrorKind};
pub(crate) use failure::Failure;
pub(crate) use keys::Keys;
use link::Link;
use parcel::{Parcel, in_full, put};
pub(crate) use script::Script;
pub(crate) use subscriber::Subscriber;

/// Redis 7 or newer, or Valkey: one server, the one that Sentinels name, or a Cluster. All clones are one.
///
/// As a [`Store`](crate::store::Store) it keeps rooms' logs as streams. How safe an event is when it is acknowledged is
/// for the server's configuration to say:
///
/// | `redis.conf` | survives |
/// |---|---|
/// | `appendonly no` | neither a crash nor, beyond the last snapshot, a restart of Redis |
/// | `appendonly yes`, `appendfsync everysec` | a crash, but for the last second or so |
/// | `appendonly yes`, `appendfsync always` | a crash: nothing acknowledged is lost |
///
/// Of a file that is torn by a crash in the middle of a script, Redis 7.0 may keep half by itself, and later put it in the
/// place of what was acknowledged since. Set `aof-load-truncated no`, and mend such a file by `redis-check-aof --fix`, which
/// cuts it where the script began.
///
/// A failover to a replica may lose what the replica had not received. Set `maxmemory-policy noeviction`: logs must not
/// be evicted like a cache. Another policy is warned of in the log with each connection to a server, once.
///
/// A user of its ACL needs no more than this, and in a Cluster `+cluster|slots`; with `+info` the policy can be looked at:
///
/// ```text
/// ACL SETUSER acme on >PASSWORD ~acme:* &acme:* -@all +@connection +@read +@write +@scripting +@pubsub
/// ```
///
/// It connects without end: when a server is lost, what needs it fails at once, at the latest after
/// [`answer_within`](RedisConnect::answer_within), and works again when a new connection is there. Every change of its
/// condition is one line in the log.
///
/// ```no_run
/// # use dialogue::prelude::*;
/// # use dialogue::Redis;
/// # #[dialogue::event] pub struct Message { pub text: String }
/// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Redis::connect("redis://127.0.0.1:6379").prefix("acme").await?;
/// let server = Acme::server().store(redis).build().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    route: Route,
}

enum Route {
    Alone(Link),
    Cluster(Cluster),
}

/// A command, and the key that says where it has to go.
pub(crate) struct Command {
    key: String,
    pub(crate) cmd: Cmd,
}

impl Redis {
    /// Connects to the server at `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://…` for TLS (feature
    /// `redis-tls`); all but the host may be left out.
    ///
    /// # Errors
    ///
    /// Awaiting it fails if the server can't be reached, refuses the user, is older than 7.0, or is a replica.
    pub fn connect(url: impl Into<String>) -> RedisConnect {
        RedisConnect::alone(url.into())
    }

    /// Connects to the Cluster that has nodes at these URLs, of which one that answers is enough.
    ///
    /// # Errors
    ///
    /// Awaiting it fails if no node can be reached, or one that the Cluster names can't.
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisConnect {
        RedisConnect::cluster(urls.into_iter().map(Into::into).collect())
    }

    /// Connects to the primary that the Sentinels at these URLs know by `name`, and after a failover to the new one. User,
    /// password, database and TLS of the URLs hold for Sentinels and servers; see [`RedisConnect::credentials`].
    ///
    /// # Errors
    ///
    /// Awaiting it fails if no Sentinel knows the primary, or it can't be reached.
    pub fn sentinel(
        urls: impl IntoIterator<Item = impl Into<String>>,
        name: impl Into<String>,
    ) -> RedisConnect {
        RedisConnect::sentinel(urls.into_iter().map(Into::into).collect(), name.into())
    }

    fn new(keys: Keys, route: Route) -> Self {
        Redis { shared: Arc::new(Shared { keys, route }) }
    }

    /// What is wrong with it now, as far as is known; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        match &self.shared.route {
            Route::Alone(link) => link.condition().trouble(),
            Route::Cluster(cluster) => cluster.trouble(),
        }
    }

    /// Whether all keys are at one server.
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.shared.route, Route::Alone(_))
    }

    /// Whether a failure means that nothing else would work now either.
    pub(crate) fn is_away(&self, failure: &Failure) -> bool {
        match &self.shared.route {
            Route::Alone(_) => failure.is_condition() || matches!(failure.code(), None | Some("READONLY")),
            // The others may be well.
            Route::Cluster(_) => false,
        }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Sends calls of a script that add data, all in one write to each server, and yields what each came to. That servers
    /// refuse such calls, or take them again, is logged.
    pub(crate) async fn write(&self, script: &Script, calls: Vec<Command>) -> Vec<Result<Value, Failure>> {
        self.send(calls, Some(script), true).await
    }

    /// Sends calls of a script, and the script itself to servers that have lost it.
    pub(crate) async fn call(&self, script: &Script, calls: Vec<Command>) -> Vec<Result<Value, Failure>> {
        self.send(calls, Some(script), false).await
    }

    /// Sends commands, and yields what each came to.
    pub(crate) async fn run(&self, commands: Vec<Command>) -> Vec<Result<Value, Failure>> {
        self.send(commands, None, false).await
    }

    /// Sends one call of a script.
    pub(crate) async fn call_one(&self, script: &Script, command: Command) -> Result<Value, Failure> {
        first(self.call(script, vec![command]).await)
    }

    /// Sends one command.
    pub(crate) async fn run_one(&self, command: Command) -> Result<Value, Failure> {
        first(self.run(vec![command]).await)
    }

    async fn send(
        &self,
        commands: Vec<Command>,
        script: Option<&Script>,
        writes: bool,
    ) -> Vec<Result<Value, Failure>> {
        if commands.is_empty() {
            return Vec::new();
        }
        match &self.shared.route {
            Route::Cluster(cluster) => {
                let mut answers = cluster.run(&commands, writes).await;
                let sent = commands.iter().map(|command| (command.key.as_str(), &command.cmd));
                if let Some((places, again)) = in_full(script, &answers, sent) {
                    put(&mut answers, places, cluster.run(&again, writes).await);
                }
                answers
            }
            Route::Alone(link) => {
                let parcel = Parcel::of(commands);
                let mut answers = parcel.send(link, writes).await;
                if let Some((places, again)) = in_full(script, &answers, parcel.commands()) {
                    put(&mut answers, places, Parcel::of(again).send(link, writes).await);
                }
                answers
            }
        }
    }
}

impl Command {
    /// A command on `key`.
    pub(crate) fn new(key: String, cmd: Cmd) -> Self {
        Command { key, cmd }
    }

    fn slot(&self) -> u16 {
        slot::slot(self.key.as_bytes())
    }
}

fn first(answers: Vec<Result<Value, Failure>>) -> Result<Value, Failure> {
    answers.into_iter().next().unwrap_or_else(|| answer(None))
}

/// An error of the server is none of the connection's.
pub(crate) fn answer(value: Option<Value>) -> Result<Value, Failure> {
    match value {
        Some(Value::ServerError(error)) => Err(Failure::refused(&error)),
        Some(value) => Ok(value),
        None => Err(Failure::Lost("an answer is missing".into())),
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.shared.keys.prefix()).finish_non_exhaustive()
    }
}
