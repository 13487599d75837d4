//! Rooms shared over Redis: one script puts events into a room's stream and tells them in the room's channel.
//!
//! | key | |
//! |---|---|
//! | `PREFIX:{room/ID}:feed` | the room's channel; sharded, so that in a Cluster it is with the room's stream |
//! | `PREFIX:{room/ID}:members` | a hash: who is in, by node and user |
//! | `PREFIX:{nodes}:leases` | a sorted set: until when a node is one |
//! | `PREFIX:{node/ID}:rooms` | a set: rooms that the node is to be taken out of when it is gone |

mod channels;
mod message;
mod nodes;
mod scripts;
mod share;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use redis::{Value, cmd};
use tokio::{sync::Notify, time::timeout};

use super::{Backplane, Feed, Member, MembersUpdate, Publication, Published};
use crate::{
    Position,
    redis::{
        Command, Redis, Subscriber,
        reply::{integer, list, text},
    },
    store::{
        StoreError, StoredEvent,
        redis::{Entry, failed, garbled, group, strange},
    },
    wire::Id,
};
use channels::{Channels, Said};
use scripts::SCRIPTS;

/// How long it may take until the first channel is listened to.
const WITHIN: Duration = Duration::from_secs(5);

impl Backplane for Redis {
    async fn join(&self, node: Id) -> Result<Feed, StoreError> {
        let (listening, channels) = (Arc::new(Notify::new()), Channels::new(self.keys().clone(), node));
        let subscriber = Arc::new(OnceLock::<Subscriber>::new());
        let follows = Arc::clone(&subscriber);
        let keys = self.keys().clone();
        let (feed, teller) = Feed::new(move |room_id, follow| {
            let Some(subscriber) = follows.get() else { return };
            let channel = keys.room(&room_id, "feed").into();
            if follow { subscriber.listen(channel) } else { subscriber.leave(&channel) }
        });
        let (hears, begins) = (teller.clone(), Arc::clone(&listening));
        let sink = move |said| match channels.hear(said) {
            Said::Own => begins.notify_one(),
            Said::Message(told) => hears.try_send(told),
            Said::Nothing => {}
        };
        let subscriber = subscriber.get_or_init(|| Subscriber::new(self.clone(), Arc::new(sink)));
        subscriber.listen(self.keys().node(node.as_str(), "feed").into());
        if timeout(WITHIN, listening.notified()).await.is_err() {
            let why = subscriber.trouble().or_else(|| self.trouble());
            let why = why.unwrap_or_else(|| "Redis does not answer".to_owned());
            return Err(StoreError::new(format!("can't listen to channels in Redis: {why}")));
        }
        tokio::spawn(nodes::keep(self.clone(), node, teller));
        Ok(feed)
    }

    async fn publish(&self, node: Id, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        let commands: Vec<_> = publications.iter().map(|share| self.share_one(node, share)).collect();
        let answers = self.write(&SCRIPTS.share, commands).await;
        let outcomes = publications.into_iter().zip(answers);
        outcomes
            .map(|(share, answer)| match answer {
                Ok(answer) => share::outcome(share, answer),
                // Not of all rooms, unless the whole of Redis is away.
                Err(failure) if self.is_away(&failure) => Err(failed("put events into rooms", failure)),
                Err(failure) => Err(failed("put events into a room", failure).only([0])),
            })
            .collect()
    }

    async fn send(&self, node: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        let channel = self.keys().room(room_id, "feed");
        let mut publish = cmd("SPUBLISH");
        publish.arg(&channel).arg(&*message::message(node, &message));
        let told = self.run_one(Command::new(channel, publish)).await;
        told.map(drop).map_err(|failure| failed("tell nodes", failure))
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        let commands: Vec<_> = room_ids
            .iter()
            .map(|room_id| {
                let log = self.keys().room(room_id, "log");
                let mut newest = cmd("XREVRANGE");
                newest.arg(&log).arg("+").arg("-").arg("COUNT").arg(1);
                Command::new(log, newest)
            })
            .collect();
        let mut heads = Vec::with_capacity(room_ids.len());
        for answer in self.run(commands).await {
            let answer = answer.map_err(|failure| failed("read the heads of logs", failure))?;
            let head = match list(&answer) {
                Some([newest, ..]) => {
                    let entry = Entry::read(newest).ok_or_else(|| strange("the head of a log", &answer))?;
                    let event = StoredEvent::decode(entry.data).map_err(garbled)?;
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

    async fn update_members(&self, node: Id, roll: MembersUpdate) -> Result<bool, StoreError> {
        let MembersUpdate { room_id, changes, has_members: anybody, max_connections: most } = roll;
        let (members, rooms) =
            (self.keys().room(&room_id, "members"), self.keys().node(node.as_str(), "rooms"));
        let note = |name: &str| {
            let mut note = cmd(name);
            note.arg(&rooms).arg(&*room_id);
            Command::new(rooms.clone(), note)
        };
        let failed = |failure| failed("say who is in a room", failure);
        // Before anybody is in: a node that goes at once is to be taken out all the same.
        if anybody {
            self.run_one(note("SADD")).await.map_err(failed)?;
        }
        let mut call = SCRIPTS.members.call(&[&members]);
        call.arg(self.keys().room(&room_id, "feed")).arg(node.as_str());
        call.arg(most.map_or_else(String::new, |most| most.to_string()));
        call.arg(&*message::roll(node, &changes));
        for change in &changes {
            call.arg(&*change.user_id).arg(change.connections);
        }
        let called = self.write(&SCRIPTS.members, vec![Command::new(members, call)]).await;
        let called = called.into_iter().next().unwrap_or(Ok(Value::Nil)).map_err(failed)?;
        if !anybody {
            self.run_one(note("SREM")).await.map_err(failed)?;
        }
        Ok(integer(&called) == Some(1))
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let members = self.keys().room(room_id, "members");
        let mut all = cmd("HGETALL");
        all.arg(&members);
        let all = self.run_one(Command::new(members, all)).await;
        match all.map_err(|failure| failed("read who is in a room", failure))? {
            Value::Map(fields) => Ok(fields.iter().filter_map(|(who, many)| member(who, many)).collect()),
            other => Err(strange("HGETALL", &other)),
        }
    }

    async fn sizes(&self, room_ids: &[Arc<str>]) -> Result<Vec<usize>, StoreError> {
        let total = |room_id: &Arc<str>| {
            let members = self.keys().room(room_id, "members");
            let mut total = cmd("HGET");
            // What all nodes say together has no name.
            total.arg(&members).arg("");
            Command::new(members, total)
        };
        let answers = self.run(room_ids.iter().map(total).collect()).await;
        let size = |answer: Value| integer(&answer).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let sizes = answers.into_iter().map(|answer| answer.map(size));
        sizes.collect::<Result<_, _>>().map_err(|failure| failed("count who is in rooms", failure))
    }

    async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let values = self.keys().records(group(key), "values");
        let mut swap = SCRIPTS.swap.call(&[&values, &self.keys().records(group(key), "names")]);
        swap.arg(key);
        for value in [old, new] {
            swap.arg(if value.is_some() { "1" } else { "" }).arg(value.as_deref().unwrap_or_default());
        }
        let swapped = self.write(&SCRIPTS.swap, vec![Command::new(values, swap)]).await;
        let swapped = swapped.into_iter().next().unwrap_or(Ok(Value::Nil));
        Ok(integer(&swapped.map_err(|failure| failed("write a record", failure))?) == Some(1))
    }
}

fn member(who: &Value, many: &Value) -> Option<Member> {
    // The sum of all has no name.
    let (node, user) = text(who)?.split_at_checked(11)?;
    let connections = u32::try_from(integer(many)?).ok()?;
    Some(Member { node: Id::parse(node)?, user_id: user.into(), connections })
}
