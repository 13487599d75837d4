//! [`Redis`], which sends commands to the servers of one deployment.

use std::{fmt, sync::Arc};

use redis::Value;

use crate::{
    cluster::RedisCluster,
    command::{CommandError, KeyedCommand, Script, reply::into_result},
    connect::RedisConnect,
    connection::{CommandPipeline, ReconnectingConnection, replace_replies, script_retries},
    key_space::KeySpace,
};

/// A client of Redis 7 or newer, or Valkey: a single server, the primary that Sentinels name, or a Cluster. All clones
/// share one client.
///
/// As a [`Store`](dialogue_core::store::Store) it keeps rooms' logs as streams. The configuration of the server decides
/// how durable an event is when it is acknowledged:
///
/// | `redis.conf` | survives |
/// |---|---|
/// | `appendonly no` | neither a crash nor, beyond the last snapshot, a restart of Redis |
/// | `appendonly yes`, `appendfsync everysec` | a crash, except the last second or so |
/// | `appendonly yes`, `appendfsync always` | a crash: no acknowledged event is lost |
///
/// If a crash in the middle of a script truncates the append-only file, Redis 7.0 may load half of the script's
/// effects, and later replace events with them that were acknowledged since. Set `aof-load-truncated no`, and repair
/// such a file by `redis-check-aof --fix`, which truncates it at the start of the script.
///
/// A failover to a replica may lose what the replica had not received. Set `maxmemory-policy noeviction`, since logs
/// must not be evicted like a cache. The client checks the policy after each connect, and logs another one as a
/// warning, once.
///
/// The user needs these permissions of the server's ACL, in a Cluster also `+cluster|slots`, and `+info` for the
/// warning about the policy:
///
/// ```text
/// ACL SETUSER acme on >PASSWORD ~acme:* &acme:* -@all +@connection +@read +@write +@scripting +@pubsub
/// ```
///
/// It reconnects by itself. While a server can't be reached, operations that need it fail, at the latest after the
/// [`response_timeout`](RedisConnect::response_timeout); they work again once there is a new connection. Each change of
/// a server's health is one line in the log.
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
    pub(crate) shared: Arc<RedisShared>,
}

pub(crate) struct RedisShared {
    keys: KeySpace,
    pub(crate) topology: Topology,
}

pub(crate) enum Topology {
    Standalone(ReconnectingConnection),
    Cluster(RedisCluster),
}

impl Redis {
    /// Returns a future that connects to the server at `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://…` for
    /// TLS (feature `redis-tls`). All parts except the host are optional.
    ///
    /// # Errors
    ///
    /// The future fails if the server can't be reached, refuses the user, is older than 7.0, or is a replica.
    pub fn connect(url: impl Into<String>) -> RedisConnect {
        RedisConnect::standalone(url.into())
    }

    /// Returns a future that connects to the Cluster that has nodes at these URLs. One reachable node is enough to find
    /// the others.
    ///
    /// # Errors
    ///
    /// The future fails if none of these nodes can be reached, or one of the primaries can't.
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> RedisConnect {
        RedisConnect::cluster(urls.into_iter().map(Into::into).collect())
    }

    /// Returns a future that connects to the primary that the Sentinels at these URLs know as `name`; after a failover,
    /// the client connects to the new primary. User, password, database and TLS of the URLs apply to Sentinels and
    /// servers; see [`RedisConnect::credentials`].
    ///
    /// # Errors
    ///
    /// The future fails if no Sentinel knows the primary, or it can't be reached.
    pub fn sentinel(
        urls: impl IntoIterator<Item = impl Into<String>>,
        name: impl Into<String>,
    ) -> RedisConnect {
        RedisConnect::sentinel(urls.into_iter().map(Into::into).collect(), name.into())
    }

    pub(crate) fn new(keys: KeySpace, topology: Topology) -> Self {
        Redis { shared: Arc::new(RedisShared { keys, topology }) }
    }

    /// Returns a description of the current outage: a server is unreachable or refuses writes, or slots of the Cluster
    /// are not served. `None` if no outage is known.
    pub fn unavailable_reason(&self) -> Option<String> {
        match &self.shared.topology {
            Topology::Standalone(connection) => connection.health().unavailable_reason(),
            Topology::Cluster(cluster) => cluster.unavailable_reason(),
        }
    }

    /// Returns whether all keys are on one server, which then is not a Cluster.
    pub(crate) fn is_single_server(&self) -> bool {
        matches!(self.shared.topology, Topology::Standalone(_))
    }

    /// Returns whether an error means that all other commands would fail now too.
    pub(crate) fn is_unavailable(&self, failure: &CommandError) -> bool {
        match &self.shared.topology {
            Topology::Standalone(_) => {
                failure.blocks_all_writes() || matches!(failure.code(), None | Some("READONLY"))
            }
            // The other nodes may be healthy.
            Topology::Cluster(_) => false,
        }
    }

    pub(crate) fn keys(&self) -> &KeySpace {
        &self.shared.keys
    }

    /// Sends calls of a script that adds data, in one pipeline per server, and returns the result of each. Updates the
    /// health of the servers, which is logged.
    pub(crate) async fn write(
        &self,
        script: &Script,
        calls: Vec<KeyedCommand>,
    ) -> Vec<Result<Value, CommandError>> {
        self.send(calls, Some(script), true).await
    }

    /// Sends calls of a script, and the script's source to servers that don't have it cached.
    pub(crate) async fn call(
        &self,
        script: &Script,
        calls: Vec<KeyedCommand>,
    ) -> Vec<Result<Value, CommandError>> {
        self.send(calls, Some(script), false).await
    }

    /// Sends commands, and returns the result of each.
    pub(crate) async fn run(&self, commands: Vec<KeyedCommand>) -> Vec<Result<Value, CommandError>> {
        self.send(commands, None, false).await
    }

    /// Sends one call of a script.
    pub(crate) async fn call_one(
        &self,
        script: &Script,
        command: KeyedCommand,
    ) -> Result<Value, CommandError> {
        first_reply(self.call(script, vec![command]).await)
    }

    /// Sends one command.
    pub(crate) async fn run_one(&self, command: KeyedCommand) -> Result<Value, CommandError> {
        first_reply(self.run(vec![command]).await)
    }

    async fn send(
        &self,
        commands: Vec<KeyedCommand>,
        script: Option<&Script>,
        writes: bool,
    ) -> Vec<Result<Value, CommandError>> {
        if commands.is_empty() {
            return Vec::new();
        }
        match &self.shared.topology {
            Topology::Cluster(cluster) => {
                let mut replies = cluster.run(&commands, writes).await;
                let sent = commands.iter().map(|command| (command.key.as_str(), &command.cmd));
                if let Some((indices, retries)) = script_retries(script, &replies, sent) {
                    replace_replies(&mut replies, indices, cluster.run(&retries, writes).await);
                }
                replies
            }
            Topology::Standalone(connection) => {
                let pipeline = CommandPipeline::new(commands);
                let mut replies = pipeline.send(connection, writes).await;
                if let Some((indices, retries)) = script_retries(script, &replies, pipeline.commands()) {
                    replace_replies(
                        &mut replies,
                        indices,
                        CommandPipeline::new(retries).send(connection, writes).await,
                    );
                }
                replies
            }
        }
    }
}

fn first_reply(replies: Vec<Result<Value, CommandError>>) -> Result<Value, CommandError> {
    replies.into_iter().next().unwrap_or_else(|| into_result(None))
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.shared.keys.prefix()).finish_non_exhaustive()
    }
}
