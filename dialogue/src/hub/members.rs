//! Who reads a room instance.

#[cfg(feature = "push")]
use std::collections::HashSet;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use super::{ConnectionId, Link, Listener, Outbox, batch::Batch, outbox::Cut};
use crate::wire::{EventSet, frame};

/// The readers of one room instance: members, and listeners in server code.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// First come, first served; the order means nothing else.
    readers: Vec<Reading>,
    places: HashMap<ConnectionId, usize>,
    /// Connections of each user, in the order that they are listed in.
    users: BTreeMap<Arc<str>, Connections>,
    listeners: usize,
    /// Connections at other instances.
    elsewhere: usize,
    /// Users that are in there, as whoever asked last was told: until there are others.
    #[cfg(feature = "push")]
    told_elsewhere: Option<Arc<HashSet<Arc<str>>>>,
}

/// A user's connections in the room.
#[derive(Debug, Clone, Copy, Default)]
struct Connections {
    here: usize,
    elsewhere: usize,
}

/// One reader.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) reader: Reader,
    /// Which of a stream's rooms this is.
    pub(super) slot: u8,
    pub(super) wanted: EventSet,
    /// Where a replay has got to; meanwhile nothing is delivered live.
    pub(super) replaying: Option<u64>,
}

/// What reads.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    /// A connection. Its outbox is the link's own: at hand, since every delivery goes there.
    Member(Arc<Outbox>, Arc<Link>),
    Listener(Arc<Listener>),
}

/// Whether a connection made a difference to who is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turnout {
    /// It is its user's first, or was the last, over all instances.
    User,
    /// Its user has others.
    Connection,
}

/// What became of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    Came,
    Went,
}

impl Connections {
    fn are_any(self) -> bool {
        self.here + self.elsewhere > 0
    }
}

impl Members {
    /// Connections that are in, of this instance.
    pub(super) fn size(&self) -> usize {
        self.readers.len() - self.listeners
    }

    /// Connections that are in at other instances.
    pub(super) fn elsewhere(&self) -> usize {
        self.elsewhere
    }

    /// Users that are in, anywhere.
    pub(super) fn users(&self) -> usize {
        self.users.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    pub(super) fn has(&self, connection: ConnectionId) -> bool {
        self.places.contains_key(&connection)
    }

    pub(super) fn has_user(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// Users that are in, anywhere, in the order of their ids.
    pub(super) fn user_ids(&self) -> impl Iterator<Item = Arc<str>> {
        self.users.keys().cloned()
    }

    /// Users that are in at other instances. The same set is the same users as before.
    #[cfg(feature = "push")]
    pub(super) fn users_elsewhere(&mut self) -> Arc<HashSet<Arc<str>>> {
        let users = self.told_elsewhere.get_or_insert_with(|| {
            let elsewhere = self.users.iter().filter(|(_, connections)| connections.elsewhere > 0);
            Arc::new(elsewhere.map(|(user, _)| Arc::clone(user)).collect())
        });
        Arc::clone(users)
    }

    /// A user has more connections elsewhere, or fewer; yields whether they came or went with that.
    pub(super) fn change_elsewhere(&mut self, user: &Arc<str>, difference: isize) -> Option<Coming> {
        let connections = self.users.entry(Arc::clone(user)).or_default();
        let was_in = connections.are_any();
        let before = connections.elsewhere;
        connections.elsewhere = before.saturating_add_signed(difference);
        self.elsewhere = self.elsewhere + connections.elsewhere - before;
        #[cfg(feature = "push")]
        if (before > 0) != (connections.elsewhere > 0) {
            self.told_elsewhere = None;
        }
        match (was_in, connections.are_any()) {
            (false, true) => Some(Coming::Came),
            (true, true) => None,
            (was_in, false) => {
                self.users.remove(user);
                was_in.then_some(Coming::Went)
            }
        }
    }

    pub(super) fn get_mut(&mut self, connection: ConnectionId) -> Option<&mut Reading> {
        self.places.get(&connection).and_then(|place| self.readers.get_mut(*place))
    }

    /// Some of them, from a place on; and where the next are.
    pub(super) fn stretch(&mut self, from: usize, most: usize) -> (&mut [Reading], Option<usize>) {
        let to = (from + most).min(self.readers.len());
        let next = (to < self.readers.len()).then_some(to);
        (self.readers.get_mut(from..to).unwrap_or_default(), next)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reading> {
        self.readers.iter()
    }

    pub(super) fn add(&mut self, reading: Reading) -> Turnout {
        let turnout = match &reading.reader {
            Reader::Member(_, link) => {
                let connections = self.users.entry(Arc::clone(&link.user_id)).or_default();
                let turnout = if connections.are_any() { Turnout::Connection } else { Turnout::User };
                connections.here += 1;
                turnout
            }
            Reader::Listener(_) => {
                self.listeners += 1;
                Turnout::Connection
            }
        };
        self.places.insert(reading.reader.id(), self.readers.len());
        self.readers.push(reading);
        turnout
    }

    pub(super) fn remove(&mut self, connection: ConnectionId) -> Option<(Reading, Turnout)> {
        let place = self.places.remove(&connection)?;
        let gone = self.readers.swap_remove(place);
        if let Some(moved) = self.readers.get(place) {
            self.places.insert(moved.reader.id(), place);
        }
        let Reader::Member(_, link) = &gone.reader else {
            self.listeners -= 1;
            return Some((gone, Turnout::Connection));
        };
        let mut turnout = Turnout::Connection;
        if let Some(connections) = self.users.get_mut(&link.user_id) {
            connections.here -= 1;
            if !connections.are_any() {
                self.users.remove(&link.user_id);
                turnout = Turnout::User;
            }
        }
        Some((gone, turnout))
    }

    pub(super) fn drain(&mut self) -> Vec<Reading> {
        self.places.clear();
        self.users.clear();
        (self.listeners, self.elsewhere) = (0, 0);
        #[cfg(feature = "push")]
        drop(self.told_elsewhere.take());
        std::mem::take(&mut self.readers)
    }

    /// Users after `after`, and whether there are more.
    pub(super) fn list(&self, after: Option<&str>, limit: usize) -> (Vec<frame::Member>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut listed = self.users.range::<str, _>((from, Bound::Unbounded));
        let members = listed
            .by_ref()
            .take(limit)
            .map(|(user, connections)| frame::Member {
                user_id: user.to_string(),
                connections: connections.here + connections.elsewhere,
            })
            .collect();
        (members, listed.next().is_some())
    }
}

impl Reading {
    pub(super) fn deliver(&mut self, batch: &Batch) {
        match &self.reader {
            Reader::Member(outbox, _) => outbox.deliver(self.slot, batch, self.wanted),
            Reader::Listener(listener) => {
                if let Some(behind) = listener.deliver(batch, self.wanted) {
                    self.replaying = Some(behind);
                }
            }
        }
    }

    /// Delivers a page of a replay, which never counts as too slow.
    pub(super) fn deliver_page(&mut self, batch: &Batch) {
        match &self.reader {
            Reader::Member(outbox, _) => outbox.deliver_page(self.slot, batch, self.wanted),
            Reader::Listener(_) => self.deliver(batch),
        }
    }

    /// The log was trimmed past the reader. A connection comes back and is told that it lost something; server code can
    /// only be told in the program's log.
    pub(super) fn fell_out(&mut self, room_id: &str) {
        match &self.reader {
            Reader::Member(outbox, _) => outbox.cut(Cut::TooSlow),
            Reader::Listener(_) => {
                tracing::warn!(room_id, "a handler was slower than the room's retention and missed events");
                self.replaying = None;
            }
        }
    }
}

impl Reader {
    pub(super) fn id(&self) -> ConnectionId {
        match self {
            Reader::Member(outbox, _) => outbox.id(),
            Reader::Listener(listener) => listener.id(),
        }
    }
}
