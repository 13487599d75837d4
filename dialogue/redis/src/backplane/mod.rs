//! The Redis backplane: [`Backplane`] for [`Redis`]. One script appends events to a room's stream and publishes them in
//! the room's channel.
//!
//! | key or channel | type and contents |
//! |---|---|
//! | `PREFIX:{room/ID}:feed` | sharded channel of a room; in a Cluster, it is on the node that has the room's stream |
//! | `PREFIX:{room/ID}:members` | hash of connections by node and user, and their total in the field with the empty name |
//! | `PREFIX:{peers}:leases` | sorted set of nodes by the end of their lease |
//! | `PREFIX:{peer/ID}:rooms` | set of the rooms from which the node's members are removed when its lease has expired |
//! | `PREFIX:{peer/ID}:feed` | channel of a node, which carries no messages: its subscription confirms that Pub/Sub works |

mod channels;
mod message;
mod nodes;
mod publish;
mod scripts;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use dialogue_core::{
    backplane::{
        Backplane, Feed, Member, MembersUpdate, NodeMessages, Publication, Published, SharedLogs,
        SharedMembers, SharedRecords,
    },
    store::{StoreError, StoredEvent},
    wire::{Id, Position},
};
use redis::{Value, cmd};
use tokio::{sync::Notify, time::timeout};

use crate::{
    client::Redis,
    command::{
        KeyedCommand,
        reply::{integer, list, text},
    },
    pubsub::Subscriber,
    store::{StreamEntry, failed, malformed_event, record_group, unexpected_reply},
};
use channels::{ChannelEvent, ChannelNames};
use scripts::SCRIPTS;

/// The timeout for the first subscription when a node joins.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

impl Backplane for Redis {}

impl SharedLogs for Redis {
    async fn publish(&self, node: Id, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        let commands: Vec<_> =
            publications.iter().map(|publication| self.publish_command(node, publication)).collect();
        let replies = self.write(&SCRIPTS.publish, commands).await;
        let outcomes = publications.into_iter().zip(replies);
        outcomes
            .map(|(publication, reply)| match reply {
                Ok(reply) => publish::outcome(publication, reply),
                // The error concerns all rooms only if the whole of Redis is unavailable.
                Err(failure) if self.is_unavailable(&failure) => {
                    Err(failed("publish events to rooms", failure))
                }
                Err(failure) => Err(failed("publish events to a room", failure).for_rooms([0])),
            })
            .collect()
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        let commands: Vec<_> = room_ids
            .iter()
            .map(|room_id| {
                let log = self.keys().room(room_id, "log");
                let mut newest = cmd("XREVRANGE");
                newest.arg(&log).arg("+").arg("-").arg("COUNT").arg(1);
                KeyedCommand::new(log, newest)
            })
            .collect();
        let mut heads = Vec::with_capacity(room_ids.len());
        for reply in self.run(commands).await {
            let reply = reply.map_err(|failure| failed("read the heads of logs", failure))?;
            let head = match list(&reply) {
                Some([newest, ..]) => {
                    let entry = StreamEntry::parse(newest)
                        .ok_or_else(|| unexpected_reply("the head of a log", &reply))?;
                    let event = StoredEvent::decode(entry.data).map_err(malformed_event)?;
                    Some(Position {
                        epoch: entry.epoch.to_string(),
                        seq: entry.seq,
                        event_id: event.event_id.to_string(),
                    })
                }
                _ => None,
            };
            heads.push(head);
        }
        Ok(heads)
    }
}

impl SharedMembers for Redis {
    async fn update_members(&self, node: Id, update: MembersUpdate) -> Result<bool, StoreError> {
        let MembersUpdate { room_id, changes, has_members, max_connections, .. } = update;
        let (members, rooms) =
            (self.keys().room(&room_id, "members"), self.keys().node(node.as_str(), "rooms"));
        let record_room = |command: &str| {
            let mut record = cmd(command);
            record.arg(&rooms).arg(&*room_id);
            KeyedCommand::new(rooms.clone(), record)
        };
        let failed = |failure| failed("update the members of a room", failure);
        // Before the members are recorded, so that they are removed even if this node fails in between.
        if has_members {
            self.run_one(record_room("SADD")).await.map_err(failed)?;
        }
        let mut call = SCRIPTS.update_members.call(&[&members]);
        call.arg(self.keys().room(&room_id, "feed")).arg(node.as_str());
        call.arg(max_connections.map_or_else(String::new, |max_connections| max_connections.to_string()));
        call.arg(&*message::members(node, &changes));
        for change in &changes {
            call.arg(&*change.user_id).arg(change.connections);
        }
        let result = self.write(&SCRIPTS.update_members, vec![KeyedCommand::new(members, call)]).await;
        let result = result.into_iter().next().unwrap_or(Ok(Value::Nil)).map_err(failed)?;
        if !has_members {
            self.run_one(record_room("SREM")).await.map_err(failed)?;
        }
        Ok(integer(&result) == Some(1))
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let members = self.keys().room(room_id, "members");
        let mut read = cmd("HGETALL");
        read.arg(&members);
        let reply = self.run_one(KeyedCommand::new(members, read)).await;
        match reply.map_err(|failure| failed("read the members of a room", failure))? {
            Value::Map(fields) => {
                Ok(fields.iter().filter_map(|(field, value)| parse_member(field, value)).collect())
            }
            other => Err(unexpected_reply("HGETALL", &other)),
        }
    }

    async fn sizes(&self, room_ids: &[Arc<str>]) -> Result<Vec<usize>, StoreError> {
        let total = |room_id: &Arc<str>| {
            let members = self.keys().room(room_id, "members");
            let mut total = cmd("HGET");
            // The field with the empty name is the total of all nodes.
            total.arg(&members).arg("");
            KeyedCommand::new(members, total)
        };
        let replies = self.run(room_ids.iter().map(total).collect()).await;
        let size = |reply: Value| integer(&reply).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let sizes = replies.into_iter().map(|reply| reply.map(size));
        sizes.collect::<Result<_, _>>().map_err(|failure| failed("count the members of rooms", failure))
    }
}

impl SharedRecords for Redis {
    async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let values = self.keys().records(record_group(key), "values");
        let mut call =
            SCRIPTS.compare_and_swap.call(&[&values, &self.keys().records(record_group(key), "names")]);
        call.arg(key);
        for value in [old, new] {
            call.arg(if value.is_some() { "1" } else { "" }).arg(value.as_deref().unwrap_or_default());
        }
        let result = self.write(&SCRIPTS.compare_and_swap, vec![KeyedCommand::new(values, call)]).await;
        let result = result.into_iter().next().unwrap_or(Ok(Value::Nil));
        Ok(integer(&result.map_err(|failure| failed("write a record", failure))?) == Some(1))
    }
}

impl NodeMessages for Redis {
    async fn join(&self, node: Id) -> Result<Feed, StoreError> {
        let (subscribed, channels) = (Arc::new(Notify::new()), ChannelNames::new(self.keys().clone(), node));
        let subscriber = Arc::new(OnceLock::<Subscriber>::new());
        let follower = Arc::clone(&subscriber);
        let keys = self.keys().clone();
        let (feed, sender) = Feed::new(move |room_id, follow| {
            let Some(subscriber) = follower.get() else { return };
            let channel = keys.room(&room_id, "feed").into();
            if follow { subscriber.subscribe(channel) } else { subscriber.unsubscribe(&channel) }
        });
        let (feed_sender, notify) = (sender.clone(), Arc::clone(&subscribed));
        let handler = move |event| match channels.interpret(event) {
            ChannelEvent::OwnSubscribed => notify.notify_one(),
            ChannelEvent::Message(message) => feed_sender.try_send(message),
            ChannelEvent::Ignored => {}
        };
        let subscriber = subscriber.get_or_init(|| Subscriber::new(self.clone(), Arc::new(handler)));
        subscriber.subscribe(self.keys().node(node.as_str(), "feed").into());
        if timeout(JOIN_TIMEOUT, subscribed.notified()).await.is_err() {
            let reason = subscriber.unavailable_reason().or_else(|| self.unavailable_reason());
            let reason = reason.unwrap_or_else(|| "Redis does not answer".to_owned());
            return Err(StoreError::new(format!("can't subscribe to channels in Redis: {reason}")));
        }
        tokio::spawn(nodes::run_heartbeats(self.clone(), node, sender));
        Ok(feed)
    }

    async fn send(&self, node: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        let channel = self.keys().room(room_id, "feed");
        let mut publish = cmd("SPUBLISH");
        publish.arg(&channel).arg(&*message::message(node, &message));
        let result = self.run_one(KeyedCommand::new(channel, publish)).await;
        result.map(drop).map_err(|failure| failed("send a message to the nodes of a room", failure))
    }
}

fn parse_member(field: &Value, connections: &Value) -> Option<Member> {
    // The total has the empty name, and is skipped.
    let (node, user) = text(field)?.split_at_checked(11)?;
    let connections = u32::try_from(integer(connections)?).ok()?;
    Some(Member::new(Id::parse(node)?, user.into(), connections))
}
