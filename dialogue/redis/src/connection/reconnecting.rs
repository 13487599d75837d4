//! A connection to one server that is made again whenever it breaks, with heartbeats and exponential backoff.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{Pipeline, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    backoff::ReconnectBackoff,
    connector::{Connector, FreshConnection},
    eviction_check::EvictionCheck,
    health::ServerHealth,
    target::ServerTarget,
};
use crate::{command::CommandError, error::RedisError};

/// A connection to one server, for commands. It reconnects whenever it breaks, until this is dropped.
///
/// While there is no connection, commands fail at once, except during the first attempt to reconnect, for which they
/// wait. All tasks share one connection, over which commands are pipelined.
pub(crate) struct ReconnectingConnection {
    shared: Arc<ConnectionShared>,
    task: AbortHandle,
}

struct ConnectionShared {
    target: ServerTarget,
    connector: Arc<Connector>,
    state: watch::Sender<ConnectionState>,
    health: ServerHealth,
    eviction_check: EvictionCheck,
    /// Set while the server refuses writes: the key that the heartbeat writes, to find out when the server accepts
    /// writes again.
    probe: Mutex<Option<String>>,
}

#[derive(Clone)]
enum ConnectionState {
    /// The first attempt to connect is in progress.
    Opening,
    Open(OpenConnection),
    Closed(Arc<str>),
}

#[derive(Clone)]
struct OpenConnection {
    commands: MultiplexedConnection,
    /// Takes the reason for which the connection must be closed.
    broken: mpsc::Sender<String>,
}

/// The time between two heartbeats.
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// The lifetime of a connection after which the backoff starts over.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(10);

impl ReconnectingConnection {
    /// Connects, and returns the error of the first attempt if it fails.
    pub(crate) async fn open(target: ServerTarget, connector: Arc<Connector>) -> Result<Self, RedisError> {
        let first = target.connect(&connector, None).await?;
        Ok(ReconnectingConnection::start(target, connector, Some(first)))
    }

    /// Starts to connect in the background.
    pub(crate) fn spawn(target: ServerTarget, connector: Arc<Connector>) -> Self {
        ReconnectingConnection::start(target, connector, None)
    }

    fn start(target: ServerTarget, connector: Arc<Connector>, first: Option<FreshConnection>) -> Self {
        let health = ServerHealth::new(format!("Redis at {target}"), "writes");
        let (state, _) = watch::channel(ConnectionState::Opening);
        let (eviction_check, probe) = (EvictionCheck::default(), Mutex::default());
        let shared = Arc::new(ConnectionShared { target, connector, state, health, eviction_check, probe });
        let task = tokio::spawn(Arc::clone(&shared).reconnect(first)).abort_handle();
        ReconnectingConnection { shared, task }
    }

    /// Sends commands in one pipeline, and returns their replies, an error reply of the server as a value.
    ///
    /// If the future is dropped, the commands may be executed or not; the connection stays usable.
    pub(crate) async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, CommandError> {
        let mut open = self.shared.connection().await?;
        match open.commands.send_packed_commands(commands, 0, commands.len()).await {
            Ok(replies) if replies.len() == commands.len() => Ok(replies),
            Ok(_) => Err(self.no_reply(&open, "it sent fewer replies than there were commands".to_owned())),
            Err(error) if error.is_timeout() => {
                let timeout = self.shared.connector.response_timeout;
                Err(self.no_reply(&open, format!("it did not answer within {timeout:?}")))
            }
            Err(error) => Err(self.no_reply(&open, format!("the connection broke: {error}"))),
        }
    }

    /// Closes the connection, so that a new one is made: the target may be another server now.
    pub(crate) fn reset(&self, reason: &str) {
        if let ConnectionState::Open(open) = &*self.shared.state.borrow() {
            // The channel is full if another reason is pending.
            let _ = open.broken.try_send(reason.to_owned());
        }
    }

    /// Records that the server refused a write to `key`. The heartbeat then probes writes in the same slot until the
    /// server accepts them.
    pub(crate) fn mark_refusing(&self, failure: &CommandError, key: &str) {
        *self.shared.probe.lock() = Some(format!("{key}:probe"));
        self.shared.health.mark_refusing(failure.code().unwrap_or_default(), &failure.to_string());
    }

    pub(crate) fn target(&self) -> &ServerTarget {
        &self.shared.target
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.shared.connector
    }

    pub(crate) fn health(&self) -> &ServerHealth {
        &self.shared.health
    }

    /// Returns whether there is a connection now.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.shared.state.borrow(), ConnectionState::Open(_))
    }

    fn no_reply(&self, open: &OpenConnection, reason: String) -> CommandError {
        let failure = CommandError::NoReply(format!("Redis at {}: {reason}", self.shared.target).into());
        let _ = open.broken.try_send(reason);
        failure
    }
}

impl Drop for ReconnectingConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConnectionShared {
    async fn connection(&self) -> Result<OpenConnection, CommandError> {
        let mut states = self.state.subscribe();
        let settled = timeout(
            self.connector.connect_timeout,
            states.wait_for(|state| !matches!(state, ConnectionState::Opening)),
        );
        match settled.await.as_ref().map(|state| state.as_deref()) {
            Ok(Ok(ConnectionState::Open(open))) => Ok(open.clone()),
            Ok(Ok(ConnectionState::Closed(reason))) => Err(CommandError::Unreachable(Arc::clone(reason))),
            _ => Err(CommandError::Unreachable(
                format!("Redis at {}: there is no connection yet", self.target).into(),
            )),
        }
    }

    async fn reconnect(self: Arc<Self>, mut first: Option<FreshConnection>) {
        let mut backoff = ReconnectBackoff::new();
        loop {
            let connection = match first.take() {
                Some(connection) => Ok(connection),
                None => self.target.connect(&self.connector, None).await,
            };
            match connection {
                Ok(connection) => {
                    let connected_at = Instant::now();
                    self.health.mark_reachable();
                    let reason = self.serve(connection).await;
                    self.health.mark_unreachable(&reason);
                    if connected_at.elapsed() >= STABLE_AFTER {
                        backoff = ReconnectBackoff::new();
                    }
                    self.state.send_replace(ConnectionState::Opening);
                }
                Err(error) => {
                    self.health.mark_unreachable(&error.to_string());
                    self.state.send_replace(ConnectionState::Closed(error.to_string().into()));
                }
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Serves commands until the connection breaks; returns the reason.
    async fn serve(&self, connection: FreshConnection) -> String {
        let FreshConnection { commands, driver, .. } = connection;
        let (broken, mut break_reasons) = mpsc::channel(1);
        self.state.send_replace(ConnectionState::Open(OpenConnection { commands: commands.clone(), broken }));
        tokio::select! {
            () = driver => "the connection was closed".to_owned(),
            reason = break_reasons.recv() => reason.unwrap_or_default(),
            () = self.monitor(commands) => {
                format!("it did not answer a heartbeat within {:?}", self.connector.response_timeout)
            }
        }
    }

    /// Sends heartbeats; returns when the server doesn't reply to one.
    async fn monitor(&self, mut commands: MultiplexedConnection) {
        self.eviction_check.check(&self.target, &mut commands).await;
        loop {
            sleep(HEARTBEAT_INTERVAL).await;
            let probe = self.probe.lock().clone();
            let mut heartbeat = redis::cmd(if probe.is_some() { "SET" } else { "PING" });
            if let Some(key) = &probe {
                heartbeat.arg(key).arg("").arg("PX").arg(1);
            }
            match commands.send_packed_command(&heartbeat).await {
                // Other errors mean a broken connection, which also ends the driver.
                Err(error) if error.is_timeout() => return,
                Ok(Value::Okay) if probe.is_some() => {
                    *self.probe.lock() = None;
                    self.health.mark_accepting();
                }
                _ => {}
            }
        }
    }
}
