//! The subscriptions of a room instance, and its users: the index from connection to subscription, and the number of
//! connections of each user over all nodes.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{
    collections::{HashMap, HashSet},
    live::{
        ConnectionHandle, ConnectionId, Listener, Outbox, OutboxCloseReason, StreamSlot, delivery::Batch,
    },
    wire::{
        EventSet,
        frame::{self, PresenceChange},
    },
};

/// The subscriptions of one room instance: those of members, and of listeners in server code.
#[derive(Debug, Default)]
pub(super) struct RoomMembers {
    /// In no meaningful order: a removal moves the last one into the gap.
    subscriptions: Vec<RoomSubscription>,
    indices: HashMap<ConnectionId, usize>,
    /// Connections of each user, ordered by id as the `members` frame lists them.
    users: BTreeMap<Arc<str>, Connections>,
    listeners: usize,
    /// Connections at other nodes.
    remote_size: usize,
    /// The set of users at other nodes, cached until it changes.
    remote_users: Option<Arc<HashSet<Arc<str>>>>,
}

/// The numbers of a user's connections in the room.
#[derive(Debug, Clone, Copy, Default)]
struct Connections {
    local: usize,
    remote: usize,
}

/// One recipient's read of the room.
#[derive(Debug)]
pub(super) struct RoomSubscription {
    pub(super) sink: EventSink,
    /// The index of the room among those of an event stream.
    pub(super) slot: StreamSlot,
    pub(super) filter: EventSet,
    /// The `seq` up to which a replay has sent events; while it is set, nothing is delivered live.
    pub(super) replaying: Option<u64>,
}

/// The receiver of a subscription's events.
#[derive(Debug, Clone)]
pub(super) enum EventSink {
    /// A connection. Its outbox is the handle's own, kept here since every delivery uses it.
    Member(Arc<Outbox>, Arc<ConnectionHandle>),
    Listener(Arc<Listener>),
}

/// The effect of a connection's join or leave on its user's presence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserPresence {
    /// It was the user's first connection, or the last, over all nodes.
    Changed,
    /// The user has other connections.
    Unchanged,
}

impl Connections {
    fn are_any(self) -> bool {
        self.local + self.remote > 0
    }
}

/// A page of the users in a room, in the order of their ids.
pub(super) struct MemberPage {
    pub(super) members: Vec<frame::Member>,
    /// True if users follow after these.
    pub(super) has_more: bool,
}

impl RoomMembers {
    /// Returns the number of connections at this node.
    pub(super) fn size(&self) -> usize {
        self.subscriptions.len() - self.listeners
    }

    /// Returns the number of connections at other nodes.
    pub(super) fn remote_size(&self) -> usize {
        self.remote_size
    }

    /// Returns the number of users over all nodes.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    pub(super) fn has(&self, connection: ConnectionId) -> bool {
        self.indices.contains_key(&connection)
    }

    pub(super) fn has_user(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Returns the users over all nodes, in the order of their ids.
    pub(super) fn user_ids(&self) -> impl Iterator<Item = Arc<str>> {
        self.users.keys().cloned()
    }

    /// Returns the users who are at other nodes. The set is shared until it changes.
    pub(super) fn remote_users(&mut self) -> Arc<HashSet<Arc<str>>> {
        let users = self.remote_users.get_or_insert_with(|| {
            let remote = self.users.iter().filter(|(_, connections)| connections.remote > 0);
            Arc::new(remote.map(|(user, _)| Arc::clone(user)).collect())
        });
        Arc::clone(users)
    }

    /// Changes the number of a user's connections at other nodes; returns whether the user joined or left by that.
    pub(super) fn change_remote(&mut self, user: &Arc<str>, difference: isize) -> Option<PresenceChange> {
        let connections = self.users.entry(Arc::clone(user)).or_default();
        let was_in = connections.are_any();
        let before = connections.remote;
        connections.remote = before.saturating_add_signed(difference);
        self.remote_size = self.remote_size + connections.remote - before;
        if (before > 0) != (connections.remote > 0) {
            self.remote_users = None;
        }
        match (was_in, connections.are_any()) {
            (false, true) => Some(PresenceChange::Joined),
            (true, true) => None,
            (was_in, false) => {
                self.users.remove(user);
                was_in.then_some(PresenceChange::Left)
            }
        }
    }

    pub(super) fn get_mut(&mut self, connection: ConnectionId) -> Option<&mut RoomSubscription> {
        self.indices.get(&connection).and_then(|index| self.subscriptions.get_mut(*index))
    }

    /// Returns up to `max` subscriptions from index `from`, and the index of the next.
    pub(super) fn slice_mut(&mut self, from: usize, max: usize) -> (&mut [RoomSubscription], Option<usize>) {
        let to = (from + max).min(self.subscriptions.len());
        let next = (to < self.subscriptions.len()).then_some(to);
        (self.subscriptions.get_mut(from..to).unwrap_or_default(), next)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RoomSubscription> {
        self.subscriptions.iter()
    }

    pub(super) fn add(&mut self, subscription: RoomSubscription) -> UserPresence {
        let user_presence = match &subscription.sink {
            EventSink::Member(_, handle) => {
                let connections = self.users.entry(Arc::clone(&handle.user_id)).or_default();
                let user_presence =
                    if connections.are_any() { UserPresence::Unchanged } else { UserPresence::Changed };
                connections.local += 1;
                user_presence
            }
            EventSink::Listener(_) => {
                self.listeners += 1;
                UserPresence::Unchanged
            }
        };
        self.indices.insert(subscription.sink.id(), self.subscriptions.len());
        self.subscriptions.push(subscription);
        user_presence
    }

    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<(RoomSubscription, UserPresence)> {
        let index = self.indices.remove(&connection)?;
        let removed = self.subscriptions.swap_remove(index);
        if let Some(moved) = self.subscriptions.get(index) {
            self.indices.insert(moved.sink.id(), index);
        }
        let EventSink::Member(_, handle) = &removed.sink else {
            self.listeners -= 1;
            return Some((removed, UserPresence::Unchanged));
        };
        let mut user_presence = UserPresence::Unchanged;
        if let Some(connections) = self.users.get_mut(&handle.user_id) {
            connections.local -= 1;
            if !connections.are_any() {
                self.users.remove(&handle.user_id);
                user_presence = UserPresence::Changed;
            }
        }
        Some((removed, user_presence))
    }

    pub(super) fn drain(&mut self) -> Vec<RoomSubscription> {
        self.indices.clear();
        self.users.clear();
        (self.listeners, self.remote_size) = (0, 0);
        drop(self.remote_users.take());
        std::mem::take(&mut self.subscriptions)
    }

    /// Returns up to `limit` users after `after`, and those who are `leaving` among them.
    pub(super) fn page(&self, after: Option<&str>, limit: usize, leaving: &[Arc<str>]) -> MemberPage {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = self.users.range::<str, _>((from, Bound::Unbounded)).take(limit.saturating_add(1));
        let count = |connections: &Connections| connections.local + connections.remote;
        let mut listed: BTreeMap<_, _> =
            users.map(|(user, connections)| (user, count(connections))).collect();
        for user in leaving.iter().filter(|user| after.is_none_or(|after| &***user > after)) {
            listed.entry(user).or_default();
        }
        let has_more = listed.len() > limit;
        let members = listed.into_iter().take(limit);
        let members =
            members.map(|(user, connections)| frame::Member { user_id: user.to_string(), connections });
        MemberPage { members: members.collect(), has_more }
    }
}

impl RoomSubscription {
    pub(super) fn deliver(&mut self, batch: &Batch) {
        match &self.sink {
            EventSink::Member(outbox, _) => outbox.deliver(self.slot, batch, self.filter),
            EventSink::Listener(listener) => {
                if let Some(behind) = listener.deliver(batch, self.filter) {
                    self.replaying = Some(behind);
                }
            }
        }
    }

    /// Delivers a page of a replay, which doesn't count towards the outbox's bound.
    pub(super) fn deliver_page(&mut self, batch: &Batch) {
        match &self.sink {
            EventSink::Member(outbox, _) => outbox.deliver_page(self.slot, batch, self.filter),
            EventSink::Listener(_) => self.deliver(batch),
        }
    }

    /// Handles a subscription that the log was trimmed past: a connection is closed as too slow, reconnects and is
    /// answered with `lost`; for a listener, the loss is logged.
    pub(super) fn fell_behind(&mut self, room_id: &str) {
        match &self.sink {
            EventSink::Member(outbox, _) => outbox.close(OutboxCloseReason::TooSlow),
            EventSink::Listener(_) => {
                tracing::warn!(room_id, "a handler was slower than the room's retention and missed events");
                self.replaying = None;
            }
        }
    }
}

impl EventSink {
    pub(super) fn id(&self) -> ConnectionId {
        match self {
            EventSink::Member(outbox, _) => outbox.id(),
            EventSink::Listener(listener) => listener.id(),
        }
    }
}
