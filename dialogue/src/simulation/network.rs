//! The network between the nodes and their store: a backplane in memory, each node's link to which can fail by itself.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    spawn,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::shared_store::SharedStore;
use crate::{
    cluster::backplane::{
        Backplane, Feed, FeedMessage, FeedSender, Follower, Member, MembersUpdate, NodeMessages, Publication,
        Published, SharedLogs, SharedMembers, SharedRecords,
    },
    store::{Append, Head, Page, Query, Store, StoreError, StoredKey, Trim},
    wire::{Id, Position},
};

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkFault {
    /// Calls fail at once, and nothing is received.
    Refused,
    /// Calls are never answered and have no effect, and nothing is received.
    Silent,
    /// Calls and heartbeats take effect, but nothing is received, answers neither.
    AnswersLost,
    /// Calls succeed, and nothing is received.
    Deaf,
    /// Calls take up to 6 s, of which a node waits for 5; messages are late.
    Slow,
    /// The node has died. Calls are never answered.
    Dead,
}

/// The link of one node: the backplane that its server gets.
#[derive(Clone)]
pub(super) struct Link(Arc<LinkState>);

struct LinkState {
    store: SharedStore,
    /// One message in so many is lost on a link without a fault; a gap is reported at the next heartbeat.
    loss: u32,
    fault: Mutex<Option<LinkFault>>,
    followed: Mutex<BTreeSet<Arc<str>>>,
    /// The handle of the node's membership; `None` while the others take it for dead.
    follower: Mutex<Option<Follower>>,
}

/// A node that isn't heard of for so long counts as dead, as with the backplane `Redis`.
const LEASE: Duration = Duration::from_secs(8);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);

impl Link {
    pub(super) fn new(store: SharedStore, loss: u32) -> Self {
        Link(Arc::new(LinkState {
            store,
            loss,
            fault: Mutex::default(),
            followed: Mutex::default(),
            follower: Mutex::default(),
        }))
    }

    pub(super) fn set_fault(&self, fault: Option<LinkFault>) {
        let mut now = self.0.fault.lock();
        if *now != Some(LinkFault::Dead) {
            *now = fault;
        }
    }

    fn fault(&self) -> Option<LinkFault> {
        *self.0.fault.lock()
    }

    fn hears(&self) -> bool {
        matches!(self.fault(), None | Some(LinkFault::Slow))
    }

    /// Makes a call over the link, which may be cut meanwhile.
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        sleep(Duration::from_millis(fastrand::u64(0..3))).await;
        let is_slow = self.fault() == Some(LinkFault::Slow);
        if is_slow {
            sleep(Duration::from_millis(fastrand::u64(0..4_000))).await;
        }
        let outcome = match self.fault() {
            Some(LinkFault::Refused) => return Err(StoreError::new("the link is down")),
            Some(LinkFault::Silent | LinkFault::Dead) => return pending().await,
            None | Some(LinkFault::Deaf | LinkFault::Slow | LinkFault::AnswersLost) => call.await,
        };
        if is_slow {
            sleep(Duration::from_millis(fastrand::u64(0..2_000))).await;
        }
        match self.fault() {
            Some(LinkFault::Refused) => Err(StoreError::new("the link went down")),
            Some(LinkFault::Silent | LinkFault::Dead | LinkFault::AnswersLost) => pending().await,
            None | Some(LinkFault::Deaf | LinkFault::Slow) => outcome,
        }
    }

    fn follow(&self, room_id: Arc<str>, follow: bool) {
        let follower = self.0.follower.lock().clone();
        if follow {
            self.0.followed.lock().insert(Arc::clone(&room_id));
            follower.into_iter().for_each(|follower| follower.follow(Arc::clone(&room_id)));
        } else {
            self.0.followed.lock().remove(&room_id);
            follower.into_iter().for_each(|follower| follower.unfollow(Arc::clone(&room_id)));
        }
    }

    /// Carries the messages of the other nodes to the server, until it drops its feed.
    async fn carry(self, node: Id, mut membership: Feed, server: FeedSender) {
        loop {
            match self.carry_while_alive(&mut membership, &server).await {
                Membership::Left => break,
                Membership::Expired => {
                    self.0.store.nodes.lock().remove(&node);
                    drop(membership);
                }
            }
            *self.0.follower.lock() = None;
            while !self.hears() {
                sleep(HEARTBEAT_INTERVAL).await;
            }
            membership =
                NodeMessages::join(&*self.0.store, node).await.expect("a local backplane can be joined");
            self.begin_membership(node, &membership);
            server.send(FeedMessage::Forgotten).await;
        }
        // Of a node that has died, nobody knows before its lease ends.
        if self.fault() == Some(LinkFault::Dead) {
            sleep(LEASE).await;
        }
        self.0.store.nodes.lock().remove(&node);
        membership.leave().await;
        server.confirm_left();
    }

    fn begin_membership(&self, node: Id, membership: &Feed) {
        self.0.store.nodes.lock().insert(node);
        let follower = membership.follower();
        self.0.followed.lock().iter().for_each(|room_id| follower.follow(Arc::clone(room_id)));
        *self.0.follower.lock() = Some(follower);
    }

    async fn carry_while_alive(&self, membership: &mut Feed, server: &FeedSender) -> Membership {
        let (mut gaps, mut deaf_since) = (BTreeSet::new(), None::<Instant>);
        let mut heartbeats = interval(HEARTBEAT_INTERVAL);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                biased;
                () = server.closed() => return Membership::Left,
                _ = heartbeats.tick() => None,
                message = membership.next() => Some(message.expect("the local backplane lasts")),
            };
            let Some(message) = message else {
                if self.hears() {
                    deaf_since = None;
                    for room_id in std::mem::take(&mut gaps) {
                        server.send(FeedMessage::Gap(room_id)).await;
                    }
                    let nodes = self.0.store.nodes.lock().clone();
                    server.send(FeedMessage::Nodes(nodes)).await;
                } else if deaf_since.get_or_insert_with(Instant::now).elapsed() >= LEASE
                    && !matches!(self.fault(), Some(LinkFault::Deaf | LinkFault::AnswersLost))
                {
                    return Membership::Expired;
                }
                continue;
            };
            // The list is read with each heartbeat.
            if matches!(message, FeedMessage::Nodes(_)) {
                continue;
            }
            if !self.hears() {
                gaps.extend(self.0.followed.lock().iter().cloned());
            } else if fastrand::u32(..self.0.loss) == 0 {
                gaps.extend(room_of(&message));
            } else {
                if self.fault() == Some(LinkFault::Slow) {
                    sleep(Duration::from_millis(fastrand::u64(0..500))).await;
                }
                server.send(message).await;
            }
        }
    }
}

/// How the membership of a node ended.
enum Membership {
    /// The server left.
    Left,
    /// The others have heard nothing of it for a [`LEASE`].
    Expired,
}

fn room_of(message: &FeedMessage) -> Option<Arc<str>> {
    match message {
        FeedMessage::Events(events) => Some(Arc::clone(&events.room_id)),
        FeedMessage::Message { room_id, .. }
        | FeedMessage::Members { room_id, .. }
        | FeedMessage::Gap(room_id) => Some(Arc::clone(room_id)),
        _ => None,
    }
}

impl Backplane for Link {}

impl SharedLogs for Link {
    async fn publish(&self, node: Id, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        let rooms = publications.len();
        let outcomes = self.call(async { Ok(self.0.store.publish(node, publications).await) }).await;
        outcomes.unwrap_or_else(|error| (0..rooms).map(|_| Err(error.clone())).collect())
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        self.call(self.0.store.heads(room_ids)).await
    }
}

impl SharedMembers for Link {
    async fn update_members(&self, node: Id, update: MembersUpdate) -> Result<bool, StoreError> {
        self.call(self.0.store.update_members(node, update)).await
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        self.call(self.0.store.members(room_id)).await
    }
}

impl SharedRecords for Link {
    async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        self.call(self.0.store.compare_and_swap(key, old, new)).await
    }
}

impl NodeMessages for Link {
    async fn join(&self, node: Id) -> Result<Feed, StoreError> {
        let membership = self.call(NodeMessages::join(&*self.0.store, node)).await?;
        self.begin_membership(node, &membership);
        let link = self.clone();
        let (feed, server) = Feed::new(move |room_id, follow| link.follow(room_id, follow));
        // The task ends when the server drops the feed.
        spawn(self.clone().carry(node, membership, server));
        Ok(feed)
    }

    async fn send(&self, node: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        self.call(self.0.store.send(node, room_id, message)).await
    }
}

impl Store for Link {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.call(self.0.store.append(appends)).await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.call(self.0.store.head(room_id)).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.call(self.0.store.read(room_id, query)).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.call(self.0.store.keys(room_id, since)).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.call(self.0.store.trim(room_id, trim)).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.call(self.0.store.remove(room_id)).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.call(self.0.store.put(records)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.call(self.0.store.get(key)).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.call(self.0.store.scan(prefix, after, limit)).await
    }
}
