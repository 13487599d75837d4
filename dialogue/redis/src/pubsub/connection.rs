//! One connection that subscribes to [sharded Pub/Sub](https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub)
//! channels of one server, and is made again whenever it breaks. [`Subscriber`](super::Subscriber) has one for each
//! server.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Pipeline, PushInfo, PushKind, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    command::{CommandError, reply::text},
    connection::{
        Connector, FreshConnection, HEARTBEAT_INTERVAL, PushHandler, ReconnectBackoff, STABLE_AFTER,
        ServerHealth, ServerTarget,
    },
};

/// An event of a subscribed channel.
#[derive(Debug)]
pub(crate) enum PubSubEvent {
    /// The subscription to a channel has begun, for the first time or again. All messages are received until the next
    /// such event, except those that Redis itself loses, as an old primary does before it learns that it is a replica.
    Subscribed(String),
    /// A message with its channel and payload.
    Message(String, Bytes),
}

/// A callback for events of channels; it must not block.
pub(crate) type PubSubHandler = Arc<dyn Fn(PubSubEvent) + Send + Sync>;

/// A callback that returns the channels to which a connection should be subscribed.
pub(super) type WantedChannels = Box<dyn Fn() -> Vec<Arc<str>> + Send + Sync>;

/// Subscribes to channels of one server until it is dropped. After each reconnect, it subscribes to all wanted channels
/// again, with a [`PubSubEvent::Subscribed`] for each.
pub(super) struct PubSubConnection {
    shared: Arc<PubSubShared>,
    task: AbortHandle,
}

struct PubSubShared {
    target: ServerTarget,
    connector: Arc<Connector>,
    wanted: WantedChannels,
    handler: PubSubHandler,
    /// Pending changes: channels to subscribe to (`true`) or to unsubscribe from.
    changes: Mutex<HashMap<Arc<str>, bool>>,
    changed: Notify,
    /// Channels from which this side unsubscribes. The server sends the same push for these and for channels that it
    /// drops because their slot has moved.
    unsubscribed: Mutex<HashSet<String>>,
    health: ServerHealth,
    /// Called when a channel's slot is at another node.
    on_slot_moved: Box<dyn Fn() + Send + Sync>,
}

/// The maximum number of channels in one pipeline.
const CHANNELS_PER_WRITE: usize = 256;

impl PubSubConnection {
    pub(super) fn spawn(
        target: ServerTarget,
        connector: Arc<Connector>,
        wanted: WantedChannels,
        handler: PubSubHandler,
        on_slot_moved: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(PubSubShared {
            health: ServerHealth::new(format!("Redis at {target}"), "subscriptions"),
            target,
            connector,
            wanted,
            handler,
            changes: Mutex::default(),
            changed: Notify::new(),
            unsubscribed: Mutex::default(),
            on_slot_moved: Box::new(on_slot_moved),
        });
        let task = tokio::spawn(Arc::clone(&shared).reconnect()).abort_handle();
        PubSubConnection { shared, task }
    }

    /// Subscribes to a channel, or unsubscribes from it. The callback for wanted channels must reflect the change
    /// already.
    pub(super) fn set_subscribed(&self, channel: Arc<str>, subscribe: bool) {
        self.shared.changes.lock().insert(channel, subscribe);
        self.shared.changed.notify_one();
    }

    /// Subscribes to all wanted channels.
    pub(super) fn refresh(&self) {
        let wanted = (self.shared.wanted)();
        self.shared.changes.lock().extend(wanted.into_iter().map(|channel| (channel, true)));
        self.shared.changed.notify_one();
    }

    pub(super) fn health(&self) -> &ServerHealth {
        &self.shared.health
    }
}

impl Drop for PubSubConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl PubSubShared {
    async fn reconnect(self: Arc<Self>) {
        let mut backoff = ReconnectBackoff::new();
        loop {
            let (break_sender, mut broken) = mpsc::channel(1);
            let shared = Arc::clone(&self);
            let push_handler: PushHandler = Arc::new(move |push| shared.handle_push(push, &break_sender));
            // An unreachable server is logged by its connection for commands.
            match self.target.connect(&self.connector, Some(push_handler)).await {
                Ok(connection) => {
                    let connected_at = Instant::now();
                    self.serve(connection, &mut broken).await;
                    if connected_at.elapsed() >= STABLE_AFTER {
                        backoff = ReconnectBackoff::new();
                    }
                }
                Err(error) => {
                    tracing::debug!("can't subscribe to channels of Redis at {}: {error}", self.target)
                }
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Receives messages until the connection breaks.
    async fn serve(&self, connection: FreshConnection, broken: &mut mpsc::Receiver<()>) {
        let FreshConnection { commands, driver, .. } = connection;
        tokio::select! {
            () = driver => {}
            _ = broken.recv() => {}
            () = self.apply_changes(commands) => {}
        }
    }

    /// Sends changes of subscriptions and heartbeats; returns when the server no longer replies.
    async fn apply_changes(&self, mut commands: MultiplexedConnection) {
        self.unsubscribed.lock().clear();
        {
            let mut changes = self.changes.lock();
            changes.clear();
            changes.extend((self.wanted)().into_iter().map(|channel| (channel, true)));
        }
        loop {
            let changes: Vec<_> = mem::take(&mut *self.changes.lock()).into_iter().collect();
            let mut refused = false;
            for chunk in changes.chunks(CHANNELS_PER_WRITE) {
                match self.send(&mut commands, chunk).await {
                    Ok(all) => refused |= !all,
                    Err(_) => return,
                }
            }
            if refused {
                // Delays the retry of the refused changes.
                sleep(HEARTBEAT_INTERVAL).await;
            } else if changes.is_empty()
                && timeout(HEARTBEAT_INTERVAL, self.changed.notified()).await.is_err()
            {
                let alive = commands.send_packed_command(&redis::cmd("PING")).await;
                if alive.is_err_and(|error| error.is_timeout()) {
                    return;
                }
            }
        }
    }

    /// Sends changes; returns whether the server accepted all of them. Refused changes become pending again.
    async fn send(
        &self,
        commands: &mut MultiplexedConnection,
        changes: &[(Arc<str>, bool)],
    ) -> Result<bool, redis::RedisError> {
        let mut pipeline = Pipeline::with_capacity(changes.len());
        for (channel, subscribe) in changes {
            if *subscribe {
                self.unsubscribed.lock().remove(&**channel);
            } else {
                self.unsubscribed.lock().insert(channel.to_string());
            }
            pipeline.cmd(if *subscribe { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" }).arg(&**channel);
        }
        let replies = commands.send_packed_commands(&pipeline, 0, changes.len()).await?;
        let refused: Vec<_> = changes
            .iter()
            .zip(&replies)
            .filter_map(|(change, reply)| match reply {
                Value::ServerError(error) => Some((change, CommandError::from_server_error(error))),
                _ => None,
            })
            .collect();
        if refused.is_empty() {
            self.health.mark_accepting();
            return Ok(true);
        }
        let wanted: HashSet<_> = (self.wanted)().into_iter().collect();
        for ((channel, subscribe), failure) in refused {
            if matches!(failure.code(), Some("MOVED" | "CLUSTERDOWN")) {
                (self.on_slot_moved)();
            } else {
                self.health.mark_refusing(failure.code().unwrap_or_default(), &failure.to_string());
            }
            // Unless a newer change reverts it, or the channel belongs to another node now.
            if wanted.contains(channel) == *subscribe {
                self.changes.lock().entry(Arc::clone(channel)).or_insert(*subscribe);
            }
        }
        Ok(false)
    }

    fn handle_push(&self, push: PushInfo, break_sender: &mpsc::Sender<()>) {
        let mut data = push.data.into_iter();
        let Some(channel) = data.next().as_ref().and_then(text).map(str::to_owned) else { return };
        match push.kind {
            PushKind::SMessage => {
                if let Some(Value::BulkString(payload)) = data.next() {
                    (self.handler)(PubSubEvent::Message(channel, payload.into()));
                }
            }
            PushKind::SSubscribe => (self.handler)(PubSubEvent::Subscribed(channel)),
            // The slot has moved to another node. The push also puts the client's matching of replies out of step, so
            // the connection is made again.
            PushKind::SUnsubscribe if !self.unsubscribed.lock().remove(&channel) => {
                (self.on_slot_moved)();
                let _ = break_sender.try_send(());
            }
            _ => {}
        }
    }
}
