//! A client of Redis Cluster, by its
//! [specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/): it routes each command
//! to the primary of its slot, and follows `MOVED` and `ASK` redirections.
//!
//! The slot map is refreshed every 5 s, and after a redirection or a failure. [`Redis`](crate::Redis) calls it for
//! commands, [`Subscriber`](crate::pubsub::Subscriber) for the places of channels.

mod slot_map;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{join_all, try_join_all};
use parking_lot::RwLock;
use redis::{Pipeline, Value};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, sleep},
};

use crate::{
    command::{CommandError, KeyedCommand, reply::into_result},
    connection::{Connector, ReconnectingConnection, ServerAddress, ServerTarget, update_health},
    error::{RedisError, RedisErrorKind},
};
use slot_map::SlotMap;

/// A Cluster: the slot map as far as it is known, and a connection to each primary.
pub(crate) struct RedisCluster {
    shared: Arc<ClusterShared>,
    task: AbortHandle,
}

struct ClusterShared {
    /// The configured nodes, which are asked for the slots when no other node replies.
    seeds: Vec<ServerAddress>,
    connector: Arc<Connector>,
    nodes: RwLock<ClusterNodes>,
    /// Notified when a reply suggests that the slot map is out of date.
    refresh_requested: Notify,
    /// Updated when the slot map has changed.
    slots_changed: watch::Sender<()>,
}

struct ClusterNodes {
    slots: SlotMap,
    connections: HashMap<ServerAddress, Arc<ReconnectingConnection>>,
}

/// The maximum number of redirections of a command.
const MAX_REDIRECTS: usize = 5;
/// The delay before a command is retried whose keys are split between two nodes, since its slot is migrating
/// (`TRYAGAIN`).
const TRYAGAIN_DELAY: Duration = Duration::from_millis(50);
/// The maximum age of the slot map.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// The minimum time between two refreshes of the slot map.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(200);

/// A command to send, by its index in the call.
struct RoutedCommand {
    index: usize,
    destination: Destination,
}

/// The node to which a command is sent.
enum Destination {
    /// The primary of the command's slot.
    SlotPrimary,
    /// The node that a redirection names.
    Redirected {
        address: ServerAddress,
        /// `true` if the node is importing the slot, and serves it only after `ASKING`.
        asking: bool,
    },
}

/// The reply of a node to a command.
struct NodeReply {
    address: ServerAddress,
    command: RoutedCommand,
    reply: Result<Value, CommandError>,
}

impl RedisCluster {
    /// Asks the seeds for the slots, and connects to all primaries.
    pub(crate) async fn open(
        seeds: Vec<ServerAddress>,
        connector: Arc<Connector>,
    ) -> Result<Self, RedisError> {
        let mut slots = Err(RedisError::configuration("no node of the Cluster is named"));
        for seed in &seeds {
            slots = fetch_slots_from(&connector, seed).await;
            if slots.is_ok() {
                break;
            }
        }
        let slots = slots?;
        let connections = try_join_all(slots.primaries().into_iter().map(|address| {
            let (target, connector) = (ServerTarget::ClusterNode(address.clone()), Arc::clone(&connector));
            async {
                Ok::<_, RedisError>((
                    address,
                    Arc::new(ReconnectingConnection::open(target, connector).await?),
                ))
            }
        }));
        let connections = connections.await.map_err(with_announce_hint)?.into_iter().collect();
        let nodes = RwLock::new(ClusterNodes { slots, connections });
        let shared = Arc::new(ClusterShared {
            seeds,
            connector,
            nodes,
            refresh_requested: Notify::new(),
            slots_changed: watch::Sender::new(()),
        });
        let task = tokio::spawn(Arc::clone(&shared).refresh_loop()).abort_handle();
        Ok(RedisCluster { shared, task })
    }

    /// Sends each command to the primary of its slot, in one pipeline per node, and returns the replies in the order of
    /// the commands. Redirected commands are sent again, up to [`MAX_REDIRECTS`] times or until the response timeout.
    pub(crate) async fn run(
        &self,
        commands: &[KeyedCommand],
        writes: bool,
    ) -> Vec<Result<Value, CommandError>> {
        let mut replies: Vec<_> = commands.iter().map(|_| None).collect();
        let mut routed: Vec<_> = (0..commands.len())
            .map(|index| RoutedCommand { index, destination: Destination::SlotPrimary })
            .collect();
        let end = Instant::now() + self.shared.connector.response_timeout;
        let mut redirects = 0;
        loop {
            routed = self.round(commands, routed, writes, &mut replies).await;
            if routed.is_empty() || redirects == MAX_REDIRECTS || Instant::now() >= end {
                break;
            }
            if routed.iter().any(|command| matches!(command.destination, Destination::SlotPrimary)) {
                sleep(TRYAGAIN_DELAY).await;
            } else {
                redirects += 1;
            }
        }
        let migrating =
            || CommandError::Unreachable("the slot is migrating between nodes of the Cluster".into());
        replies.into_iter().map(|reply| reply.unwrap_or_else(|| Err(migrating()))).collect()
    }

    /// Returns a description of an outage of any node, or of slots that no node serves.
    pub(crate) fn unavailable_reason(&self) -> Option<String> {
        let nodes = self.shared.nodes.read();
        nodes
            .connections
            .values()
            .find_map(|connection| connection.health().unavailable_reason())
            .or_else(|| nodes.slots.uncovered_reason())
    }

    /// Returns the primary of a slot, if it is known.
    pub(crate) fn primary(&self, slot: u16) -> Option<ServerAddress> {
        self.shared.nodes.read().slots.primary(slot).cloned()
    }

    /// Returns a receiver that is notified of each change of the slot map.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.shared.slots_changed.subscribe()
    }

    /// Requests a refresh of the slot map, since it may be out of date.
    pub(crate) fn request_refresh(&self) {
        self.shared.refresh_requested.notify_one();
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.shared.connector
    }

    /// Sends every command once; returns those that have to be sent again.
    async fn round(
        &self,
        commands: &[KeyedCommand],
        routed: Vec<RoutedCommand>,
        writes: bool,
        replies: &mut [Option<Result<Value, CommandError>>],
    ) -> Vec<RoutedCommand> {
        let mut by_node = HashMap::<ServerAddress, Vec<RoutedCommand>>::new();
        for command in routed {
            match self.shared.address(&command, commands) {
                Some(address) => by_node.entry(address).or_default().push(command),
                None => {
                    self.shared.refresh_requested.notify_one();
                    set_reply(
                        replies,
                        command.index,
                        Err(CommandError::Unreachable("the Cluster does not serve the slot".into())),
                    );
                }
            }
        }
        let sent =
            by_node.into_iter().map(|(address, routed)| self.send_to_node(commands, address, routed, writes));
        let mut retries = Vec::new();
        for NodeReply { address, command, reply } in join_all(sent).await.into_iter().flatten() {
            match self.shared.retry_destination(&address, &reply) {
                Some(destination) => retries.push(RoutedCommand { destination, ..command }),
                None => set_reply(replies, command.index, reply),
            }
        }
        retries
    }

    /// Sends commands to one node in one pipeline.
    async fn send_to_node(
        &self,
        commands: &[KeyedCommand],
        address: ServerAddress,
        routed: Vec<RoutedCommand>,
        writes: bool,
    ) -> Vec<NodeReply> {
        let connection = self.shared.connection(&address);
        let mut pipeline = Pipeline::with_capacity(routed.len());
        for command in &routed {
            if command.destination.is_asking() {
                pipeline.cmd("ASKING");
            }
            if let Some(command) = commands.get(command.index) {
                pipeline.add_command(command.cmd.clone());
            }
        }
        let sent = connection.send(&pipeline).await;
        if sent.is_err() {
            self.shared.refresh_requested.notify_one();
        }
        let mut values = sent.as_ref().map(|values| values.clone().into_iter());
        let mut delivered = Vec::with_capacity(routed.len());
        for command in routed {
            let reply = match &mut values {
                Ok(values) => {
                    if command.destination.is_asking() {
                        values.next();
                    }
                    into_result(values.next())
                }
                Err(failure) => Err((*failure).clone()),
            };
            delivered.push(NodeReply { address: address.clone(), command, reply });
        }
        if writes {
            let key =
                |command: &RoutedCommand| commands.get(command.index).map_or("", |command| &command.key);
            update_health(&connection, delivered.iter().map(|sent| (key(&sent.command), &sent.reply)));
        }
        delivered
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Destination {
    fn is_asking(&self) -> bool {
        matches!(self, Destination::Redirected { asking: true, .. })
    }
}

impl ClusterShared {
    fn address(&self, command: &RoutedCommand, commands: &[KeyedCommand]) -> Option<ServerAddress> {
        if let Destination::Redirected { address, .. } = &command.destination {
            return Some(address.clone());
        }
        self.nodes.read().slots.primary(commands.get(command.index)?.slot()).cloned()
    }

    fn connection(&self, address: &ServerAddress) -> Arc<ReconnectingConnection> {
        if let Some(connection) = self.nodes.read().connections.get(address) {
            return Arc::clone(connection);
        }
        let mut nodes = self.nodes.write();
        let spawn = || {
            Arc::new(ReconnectingConnection::spawn(
                ServerTarget::ClusterNode(address.clone()),
                Arc::clone(&self.connector),
            ))
        };
        Arc::clone(nodes.connections.entry(address.clone()).or_insert_with(spawn))
    }

    /// Returns the destination at which a command has to be retried after this reply, or `None` if the reply is final.
    fn retry_destination(
        &self,
        from: &ServerAddress,
        reply: &Result<Value, CommandError>,
    ) -> Option<Destination> {
        let Err(CommandError::ServerError { code, text }) = reply else { return None };
        let asking = match code.as_str() {
            "MOVED" => false,
            "ASK" => true,
            "TRYAGAIN" => return Some(Destination::SlotPrimary),
            "READONLY" | "CLUSTERDOWN" => {
                self.refresh_requested.notify_one();
                return None;
            }
            _ => return None,
        };
        if !asking {
            self.refresh_requested.notify_one();
        }
        Some(Destination::Redirected { address: parse_redirect(text, from)?, asking })
    }

    /// Refreshes the slot map periodically and on request.
    async fn refresh_loop(self: Arc<Self>) {
        loop {
            let expired = sleep(REFRESH_INTERVAL.mul_f64(0.75 + fastrand::f64() / 2.0));
            tokio::select! {
                () = expired => {}
                () = self.refresh_requested.notified() => {}
            }
            match self.fetch_slots().await {
                Ok(slots) => self.apply(slots),
                Err(error) => tracing::debug!("can't refresh the slot map of the Cluster: {error}"),
            }
            sleep(MIN_REFRESH_INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Asks the connected nodes, then the seeds, in random order for the slots until one replies.
    async fn fetch_slots(&self) -> Result<SlotMap, RedisError> {
        let mut connections: Vec<_> = {
            let nodes = self.nodes.read();
            nodes
                .connections
                .iter()
                .map(|(address, connection)| (address.clone(), Arc::clone(connection)))
                .collect()
        };
        fastrand::shuffle(&mut connections);
        let mut query = Pipeline::with_capacity(1);
        query.cmd("CLUSTER").arg("SLOTS");
        for (address, connection) in connections.into_iter().filter(|(_, connection)| connection.is_open()) {
            let replies = connection.send(&query).await.unwrap_or_default();
            if let Some(slots) = replies.first().and_then(|reply| SlotMap::read(reply, &address)) {
                return Ok(slots);
            }
        }
        let mut failure = RedisError::configuration("no node of the Cluster is named");
        let mut seeds = self.seeds.clone();
        fastrand::shuffle(&mut seeds);
        for seed in seeds {
            match fetch_slots_from(&self.connector, &seed).await {
                Ok(slots) => return Ok(slots),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Replaces the slot map, connects to new primaries, and drops the connections to nodes that are no primary any
    /// more.
    fn apply(&self, slots: SlotMap) {
        let primaries: HashSet<_> = slots.primaries().into_iter().collect();
        let dropped: Vec<_> = {
            let mut nodes = self.nodes.write();
            if nodes.slots != slots {
                nodes.slots = slots;
                self.slots_changed.send_replace(());
            }
            nodes.connections.extract_if(|address, _| !primaries.contains(address)).collect()
        };
        for (address, _) in dropped {
            tracing::info!("Redis at {address} is no primary of the Cluster any more");
        }
        primaries.iter().for_each(|address| drop(self.connection(address)));
    }
}

async fn fetch_slots_from(connector: &Connector, seed: &ServerAddress) -> Result<SlotMap, RedisError> {
    let mut connection = ServerTarget::ClusterNode(seed.clone()).connect(connector, None).await?;
    let mut query = redis::cmd("CLUSTER");
    query.arg("SLOTS");
    let reply = tokio::select! {
        reply = connection.commands.send_packed_command(&query) => reply.ok(),
        () = &mut connection.driver => None,
    };
    reply.and_then(|reply| SlotMap::read(&reply, seed)).ok_or_else(|| {
        let message =
            format!("can't read the Cluster's slots from Redis at {seed}: its ACL must allow CLUSTER SLOTS");
        RedisError::new(RedisErrorKind::Unsupported, message)
    })
}

/// Adds to an error that the address comes from the Cluster and not from the configuration.
fn with_announce_hint(error: RedisError) -> RedisError {
    let message = format!(
        "{error}; the Cluster itself names this address: see `cluster-announce-ip` or \
         `cluster-announce-hostname` in the nodes' configuration"
    );
    RedisError::caused(error.kind(), message, error)
}

/// Returns the address in `MOVED SLOT HOST:PORT` or `ASK SLOT HOST:PORT`; an empty host stands for that of the replying
/// node.
fn parse_redirect(text: &str, from: &ServerAddress) -> Option<ServerAddress> {
    let (host, port) = text.rsplit(' ').next()?.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { from.host.as_str() } else { host };
    Some(ServerAddress { host: host.to_owned(), port: port.parse().ok()? })
}

fn set_reply(
    replies: &mut [Option<Result<Value, CommandError>>],
    index: usize,
    reply: Result<Value, CommandError>,
) {
    if let Some(target) = replies.get_mut(index) {
        *target = Some(reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_has_an_address() {
        let from = ServerAddress { host: "10.0.0.1".to_owned(), port: 1 };
        let to = |text| parse_redirect(text, &from).map(|address| address.to_string());
        assert_eq!(to("MOVED 3999 127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(to("ASK 3999 ::1:6381").as_deref(), Some("[::1]:6381"));
        assert_eq!(to("MOVED 3999 :6381").as_deref(), Some("10.0.0.1:6381"));
        assert_eq!(to("MOVED 3999"), None);
    }
}
