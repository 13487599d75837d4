//! The membership of nodes by leases in Redis: each node renews its lease by a heartbeat every 2 s, and is dead 8 s
//! after the last. [`join`](dialogue_core::backplane::NodeMessages::join) spawns the task; its messages go into the
//! node's feed.

use std::{collections::BTreeSet, time::Duration};

use dialogue_core::{
    backplane::{FeedMessage, FeedSender},
    wire::Id,
};
use redis::{Value, cmd};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::scripts::SCRIPTS;
use crate::{
    client::Redis,
    command::{
        CommandError, KeyedCommand,
        reply::{integer, list, text},
    },
};

/// The time between two heartbeats of a node.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// The duration of a lease, after which a node without a heartbeat counts as dead.
const LEASE: Duration = Duration::from_secs(8);
/// The number of rooms from which one pipeline removes a dead node.
const ROOMS_PER_CALL: usize = 100;

/// The reply to a heartbeat.
struct HeartbeatReply {
    /// `true` if this node's lease had not expired before.
    was_known: bool,
    /// The nodes with a lease, this one included.
    live: BTreeSet<Id>,
    /// The nodes whose leases have expired, and whose members have not been removed yet.
    expired: BTreeSet<Id>,
}

/// Sends heartbeats for `node`, and messages about the live nodes into its feed, until the feed is dropped. Then it
/// ends the lease.
pub(super) async fn run_heartbeats(redis: Redis, node: Id, sender: FeedSender) {
    tokio::select! {
        () = send_heartbeats(&redis, node, &sender) => {}
        () = sender.closed() => {}
    }
    // Ends the lease, so that the other nodes don't wait for it to expire.
    if heartbeat(&redis, node, Duration::ZERO).await.is_ok() {
        sender.confirm_left();
    }
}

async fn send_heartbeats(redis: &Redis, node: Id, sender: &FeedSender) {
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut sent_at) = (BTreeSet::new(), None::<Instant>);
    let (mut last_heartbeat, mut grace_until) = (None::<Instant>, None::<Instant>);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let Ok(HeartbeatReply { was_known, mut live, expired }) = heartbeat(redis, node, LEASE).await else {
            continue;
        };
        if let Some(last_heartbeat) = last_heartbeat.replace(now) {
            let silence = now.elapsed() + now.duration_since(last_heartbeat);
            if !was_known || silence > LEASE - HEARTBEAT_INTERVAL {
                // Redis was unavailable, or has lost its data. The other nodes renew their leases as this one does, so
                // no node counts as dead for the duration of a lease.
                grace_until = Some(now + LEASE);
            }
            // Also if this node is known: the other nodes may have seen its lease expire before a delayed heartbeat
            // renewed it.
            if !was_known || silence >= LEASE {
                sender.send(FeedMessage::Forgotten).await;
            }
        }
        let in_grace = grace_until.is_some_and(|until| now < until);
        if in_grace {
            live.extend(&sent);
        }
        // Repeated without a change too: a delayed message of a dead node may have restored its members.
        let due = sent_at.is_none_or(|sent_at| sent_at.elapsed() >= LEASE);
        if live != sent || due {
            sent_at = Some(now);
            sent = live;
            sender.send(FeedMessage::Nodes(sent.clone())).await;
        }
        // The node with the least id removes dead nodes for all.
        if !in_grace && sent.first() == Some(&node) {
            for node in expired {
                if let Err(failure) = remove_node(redis, node).await {
                    tracing::debug!("can't remove the members of a dead node from its rooms: {failure}");
                }
            }
        }
    }
}

/// Sends one heartbeat, which sets the lease of `node`.
async fn heartbeat(redis: &Redis, node: Id, lease: Duration) -> Result<HeartbeatReply, CommandError> {
    let nodes = redis.keys().nodes();
    let mut call = SCRIPTS.heartbeat.call(&[&nodes]);
    call.arg(node.as_str()).arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    let reply = redis.call_one(&SCRIPTS.heartbeat, KeyedCommand::new(nodes, call)).await?;
    let ids = |value: &Value| {
        let ids = list(value).unwrap_or_default().iter();
        ids.filter_map(|id| text(id).and_then(Id::parse)).collect::<BTreeSet<_>>()
    };
    match list(&reply) {
        Some([was_known, live, expired]) => Ok(HeartbeatReply {
            was_known: integer(was_known) == Some(1),
            live: ids(live),
            expired: ids(expired),
        }),
        _ => Err(CommandError::unexpected_reply("a heartbeat", &reply)),
    }
}

/// Removes a dead node's members from all of its rooms, and then its lease.
async fn remove_node(redis: &Redis, node: Id) -> Result<(), CommandError> {
    let rooms = redis.keys().node(node.as_str(), "rooms");
    loop {
        let mut chunk = cmd("SRANDMEMBER");
        chunk.arg(&rooms).arg(ROOMS_PER_CALL);
        let chunk = redis.run_one(KeyedCommand::new(rooms.clone(), chunk)).await?;
        let chunk: Vec<_> = list(&chunk).unwrap_or_default().iter().filter_map(text).collect();
        if chunk.is_empty() {
            break;
        }
        let calls: Vec<_> = chunk
            .iter()
            .map(|room| {
                let members = redis.keys().room(room, "members");
                let mut remove = SCRIPTS.remove_node.call(&[&members]);
                remove.arg(node.as_str());
                KeyedCommand::new(members, remove)
            })
            .collect();
        redis.call(&SCRIPTS.remove_node, calls).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut remove = cmd("SREM");
        remove.arg(&rooms).arg(&chunk);
        redis.run_one(KeyedCommand::new(rooms.clone(), remove)).await?;
    }
    let nodes = redis.keys().nodes();
    let mut remove = cmd("ZREM");
    remove.arg(&nodes).arg(node.as_str());
    redis.run_one(KeyedCommand::new(nodes, remove)).await.map(drop)
}
