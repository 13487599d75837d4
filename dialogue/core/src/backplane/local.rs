//! A backplane for the nodes of one process, over a store in memory.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::{
    Backplane, Draft, DraftOutcome, Feed, FeedEvents, FeedMessage, FeedSender, Member, MembersUpdate,
    NodeMessages, Publication, Published, SharedLogs, SharedMembers, SharedRecords,
};
use crate::{
    store::{Append, Head, Memory, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim},
    wire::{Id, Position},
};

/// A [`Backplane`] for the servers of one process, over a store in [memory](Memory): for tests of an application that
/// runs on several nodes, and as an example of an implementation. All clones share one backplane.
///
/// A single server needs no backplane, and is faster without one.
///
/// ```
/// use dialogue::backplane::Local;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backplane = Local::new();
/// let one = Acme::server().backplane(backplane.clone()).build().await?;
/// let other = Acme::server().backplane(backplane).build().await?;
/// one.chat().trigger(Message { text: "first".into() }).await?;
/// let accepted = other.chat().trigger(Message { text: "second".into() }).await?;
/// assert_eq!(accepted.seq, Some(2));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Local {
    store: Memory,
    /// Held during each change, so that changes are sent to the nodes in the order in which they are made.
    write_lock: Arc<AsyncMutex<()>>,
    nodes: Arc<Mutex<LocalNodes>>,
}

/// A node, and a user with connections to it.
type NodeUser = (Id, Arc<str>);

#[derive(Default)]
struct LocalNodes {
    feeds: BTreeMap<Id, FeedSender>,
    followers: HashMap<Arc<str>, BTreeSet<Id>>,
    /// The members of each room: numbers of connections by node and user.
    members: HashMap<Arc<str>, BTreeMap<NodeUser, u32>>,
}

/// The maximum number of missed events in the outcome of a publication.
const MAX_MISSED_EVENTS: usize = 200;

impl Local {
    /// Returns a backplane without rooms and nodes.
    pub fn new() -> Self {
        Local::default()
    }

    /// Drops the newest events of a room, as a failover to a replica that lags behind does; returns them.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn lose_tail(&self, room_id: &str, events: usize) -> Vec<StoredEvent> {
        self.store.lose_tail(room_id, events)
    }

    async fn publish_one(&self, node: Id, publication: Publication) -> Result<Published, StoreError> {
        let Publication { room_id, mut epoch, after, after_id, drafts, exact } = publication;
        let conflict = || StoreError::conflict("can't publish: the log has another epoch or has lost events");
        let head = self.store.head(&room_id).await?;
        let (mut seq, mut timestamp, mut offset, mut newest_id) = (0, 0, 0, None);
        if let Some(Head { epoch: found, last, .. }) = head {
            if after > 0 && found != epoch {
                return Err(conflict());
            }
            (epoch, seq, timestamp, newest_id) = (found, last.seq, last.timestamp, Some(last.event_id));
            offset = last.offset + to_u64(last.data.len());
        }
        if seq < after {
            return Err(conflict());
        }
        let mut since = Query::new(Order::OldestFirst, MAX_MISSED_EVENTS + 1);
        since.after = after.checked_sub(1);
        let mut missed = self.store.read(&room_id, since).await?.events;
        if let Some(index) = missed.iter().position(|event| event.seq == after) {
            let known = missed.remove(index);
            if after_id.is_some_and(|id| id != known.event_id) {
                return Err(conflict());
            }
        }
        let before = seq;
        if exact && before > after {
            return Ok(Published { epoch, missed, before, outcomes: Vec::new() });
        }
        let (mut outcomes, mut published) = (Vec::with_capacity(drafts.len()), Vec::new());
        for Draft { mut event, size } in drafts {
            if let Some(duplicate) = self.store.key_retried_by(&room_id, &event) {
                outcomes.push(DraftOutcome::Duplicate(duplicate));
                // The drafts behind it are numbered as if it were new, so they can't be appended exactly.
                if exact {
                    break;
                }
                continue;
            }
            if event.seq > 0 {
                seq += 1;
                timestamp = timestamp.max(event.timestamp);
                if !exact {
                    (event.seq, event.timestamp, event.offset) = (seq, timestamp, offset);
                }
                offset += u64::from(size);
            }
            published.push(event.clone());
            outcomes.push(DraftOutcome::Published(event));
        }
        let events: Vec<StoredEvent> = published.iter().filter(|event| event.seq > 0).cloned().collect();
        if !events.is_empty() {
            self.store.append(vec![Append::new(Arc::clone(&room_id), Arc::clone(&epoch), events)]).await?;
        }
        if !published.is_empty() {
            let mut events =
                FeedEvents::new(Arc::clone(&room_id), node, Arc::clone(&epoch), before, published);
            events.after_id = newest_id;
            self.nodes.lock().publish(&room_id, &FeedMessage::Events(events));
        }
        Ok(Published { epoch, missed, before, outcomes })
    }
}

impl Backplane for Local {}

impl SharedLogs for Local {
    async fn publish(&self, node: Id, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        let _guard = self.write_lock.lock().await;
        let mut outcomes = Vec::with_capacity(publications.len());
        for publication in publications {
            outcomes.push(self.publish_one(node, publication).await);
        }
        outcomes
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        let mut heads = Vec::with_capacity(room_ids.len());
        for room_id in room_ids {
            heads.push(self.store.head(room_id).await?.map(|head| Position {
                epoch: head.epoch.to_string(),
                seq: head.last.seq,
                event_id: head.last.event_id.to_string(),
            }));
        }
        Ok(heads)
    }
}

impl SharedMembers for Local {
    async fn update_members(&self, node: Id, update: MembersUpdate) -> Result<bool, StoreError> {
        let _guard = self.write_lock.lock().await;
        Ok(self.nodes.lock().update_members(node, update))
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let nodes = self.nodes.lock();
        let members = nodes.members.get(room_id).into_iter().flatten();
        let members = members.map(|((node, user_id), connections)| Member {
            node: *node,
            user_id: Arc::clone(user_id),
            connections: *connections,
        });
        Ok(members.collect())
    }
}

impl SharedRecords for Local {
    async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let _guard = self.write_lock.lock().await;
        let same = self.store.get(key).await? == old;
        if same {
            self.store.put(vec![(key.to_owned(), new)]).await?;
        }
        Ok(same)
    }
}

impl NodeMessages for Local {
    async fn join(&self, node: Id) -> Result<Feed, StoreError> {
        let nodes = Arc::clone(&self.nodes);
        let (feed, sender) = Feed::new(move |room_id: Arc<str>, follow| {
            let mut nodes = nodes.lock();
            let followers = nodes.followers.entry(Arc::clone(&room_id)).or_default();
            if follow {
                followers.insert(node);
                if let Some(sender) = nodes.feeds.get(&node) {
                    sender.try_send(FeedMessage::Gap(room_id));
                }
            } else {
                followers.remove(&node);
                if followers.is_empty() {
                    nodes.followers.remove(&room_id);
                }
            }
        });
        self.nodes.lock().join(node, sender.clone());
        let nodes = Arc::clone(&self.nodes);
        // The task ends when the feed is dropped.
        tokio::spawn(async move {
            sender.closed().await;
            nodes.lock().leave(node);
            sender.confirm_left();
        });
        Ok(feed)
    }

    async fn send(&self, node: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        let _guard = self.write_lock.lock().await;
        self.nodes.lock().publish(room_id, &FeedMessage::Message { room_id: room_id.into(), node, message });
        Ok(())
    }
}

impl Store for Local {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.store.append(appends).await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.store.head(room_id).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.store.read(room_id, query).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.store.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.store.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.store.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.store.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.store.scan(prefix, after, limit).await
    }
}

impl LocalNodes {
    fn join(&mut self, node: Id, sender: FeedSender) {
        self.feeds.insert(node, sender);
        self.publish_nodes();
    }

    fn leave(&mut self, node: Id) {
        self.feeds.remove(&node);
        self.followers.retain(|_, followers| {
            followers.remove(&node);
            !followers.is_empty()
        });
        self.members.retain(|_, members| {
            members.retain(|(of, _), _| *of != node);
            !members.is_empty()
        });
        self.publish_nodes();
    }

    fn publish_nodes(&self) {
        let nodes: BTreeSet<Id> = self.feeds.keys().copied().collect();
        self.feeds.values().for_each(|sender| sender.try_send(FeedMessage::Nodes(nodes.clone())));
    }

    fn publish(&self, room_id: &str, message: &FeedMessage) {
        let followers = self.followers.get(room_id).into_iter().flatten();
        for sender in followers.filter_map(|node| self.feeds.get(node)) {
            sender.try_send(message.clone());
        }
    }

    fn update_members(&mut self, node: Id, update: MembersUpdate) -> bool {
        let MembersUpdate { room_id, changes, has_members: _, max_connections } = update;
        let members = self.members.entry(Arc::clone(&room_id)).or_default();
        let mut changed = members.clone();
        for change in &changes {
            let key = (node, Arc::clone(&change.user_id));
            match change.connections {
                0 => changed.remove(&key),
                connections => changed.insert(key, connections),
            };
        }
        let total = |members: &BTreeMap<_, u32>| members.values().sum::<u32>();
        if max_connections.is_some_and(|max| total(&changed) > max && total(&changed) > total(members)) {
            return false;
        }
        if changed.is_empty() {
            self.members.remove(&room_id);
        } else {
            *members = changed;
        }
        self.publish(&room_id, &FeedMessage::Members { room_id: Arc::clone(&room_id), node, changes });
        true
    }
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Local")
    }
}
