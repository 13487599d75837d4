//! Subscriptions to sharded Pub/Sub channels, distributed over the servers of a deployment. The Redis backplane has one
//! [`Subscriber`] for the channels of its rooms.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::connection::{PubSubConnection, PubSubHandler};
use crate::{
    client::{Redis, Topology},
    command::slot,
    connection::ServerTarget,
};

/// Subscribes to channels until it is dropped, over one connection to each server that has any of them.
///
/// Messages may be lost while a connection is down. Each [`PubSubEvent::Subscribed`](super::PubSubEvent::Subscribed)
/// marks the point from which on a channel's messages are received; the receiver then checks by other means for what it
/// missed.
pub(crate) struct Subscriber {
    shared: Arc<SubscriberShared>,
    /// The task that moves channels between connections when slots move; only in a Cluster.
    rebalancing: Option<AbortHandle>,
}

struct SubscriberShared {
    redis: Redis,
    handler: PubSubHandler,
    wanted: Mutex<HashSet<Arc<str>>>,
    /// Connections by the text of their target.
    connections: Mutex<HashMap<String, PubSubConnection>>,
}

impl Subscriber {
    pub(crate) fn new(redis: Redis, handler: PubSubHandler) -> Self {
        let shared = Arc::new(SubscriberShared {
            redis: redis.clone(),
            handler,
            wanted: Mutex::default(),
            connections: Mutex::default(),
        });
        let rebalancing = match &redis.shared.topology {
            Topology::Standalone(_) => None,
            Topology::Cluster(cluster) => {
                let (mut changes, shared) = (cluster.changes(), Arc::downgrade(&shared));
                let rebalance = async move {
                    while changes.changed().await.is_ok() {
                        let Some(shared) = shared.upgrade() else { return };
                        shared.rebalance();
                    }
                };
                Some(tokio::spawn(rebalance).abort_handle())
            }
        };
        Subscriber { shared, rebalancing }
    }

    pub(crate) fn subscribe(&self, channel: Arc<str>) {
        self.shared.wanted.lock().insert(Arc::clone(&channel));
        self.shared.set_subscribed(channel, true);
    }

    pub(crate) fn unsubscribe(&self, channel: &Arc<str>) {
        self.shared.wanted.lock().remove(channel);
        self.shared.set_subscribed(Arc::clone(channel), false);
    }

    /// Returns a description of the current outage of a connection, if any.
    pub(crate) fn unavailable_reason(&self) -> Option<String> {
        self.shared
            .connections
            .lock()
            .values()
            .find_map(|connection| connection.health().unavailable_reason())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(rebalancing) = &self.rebalancing {
            rebalancing.abort();
        }
    }
}

impl SubscriberShared {
    fn set_subscribed(self: &Arc<Self>, channel: Arc<str>, subscribe: bool) {
        // If no node serves the slot, `rebalance` subscribes to the channel once one does.
        let Some(target) = self.target_of(&channel) else { return };
        let mut connections = self.connections.lock();
        let connection = connections.entry(target.to_string()).or_insert_with(|| self.connect(target));
        connection.set_subscribed(channel, subscribe);
    }

    /// Subscribes to every channel at the node that serves its slot now.
    fn rebalance(self: &Arc<Self>) {
        let wanted: Vec<_> = self.wanted.lock().iter().cloned().collect();
        let targets: HashMap<_, _> = wanted
            .iter()
            .filter_map(|channel| self.target_of(channel))
            .map(|target| (target.to_string(), target))
            .collect();
        let mut connections = self.connections.lock();
        connections.retain(|target, _| targets.contains_key(target));
        for (text, target) in targets {
            connections.entry(text).or_insert_with(|| self.connect(target)).refresh();
        }
    }

    fn connect(self: &Arc<Self>, target: ServerTarget) -> PubSubConnection {
        let connector = match &self.redis.shared.topology {
            Topology::Standalone(connection) => Arc::clone(connection.connector()),
            Topology::Cluster(cluster) => Arc::clone(cluster.connector()),
        };
        let (shared, text) = (Arc::downgrade(self), target.to_string());
        let wanted = move || shared.upgrade().map_or_else(Vec::new, |shared| shared.wanted_at(&text));
        let redis = Arc::downgrade(&self.redis.shared);
        let on_slot_moved = move || {
            if let Some(redis) = redis.upgrade()
                && let Topology::Cluster(cluster) = &redis.topology
            {
                cluster.request_refresh();
            }
        };
        PubSubConnection::spawn(target, connector, Box::new(wanted), Arc::clone(&self.handler), on_slot_moved)
    }

    fn wanted_at(&self, target: &str) -> Vec<Arc<str>> {
        let wanted = self.wanted.lock();
        let is_here =
            |channel: &Arc<str>| self.target_of(channel).is_some_and(|other| other.to_string() == target);
        wanted.iter().filter(|channel| is_here(channel)).cloned().collect()
    }

    /// Returns the server that has a channel, if it is known.
    fn target_of(&self, channel: &str) -> Option<ServerTarget> {
        match &self.redis.shared.topology {
            Topology::Standalone(connection) => Some(connection.target().clone()),
            Topology::Cluster(cluster) => {
                cluster.primary(slot(channel.as_bytes())).map(ServerTarget::ClusterNode)
            }
        }
    }
}
