//! Who is in a room.

use std::sync::Arc;

use crate::wire::Id;

/// A user in a room, by the word of one peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Member {
    /// The peer that they are connected to.
    pub peer: Id,
    /// Who.
    pub user_id: Arc<str>,
    /// How many connections of theirs are in the room there.
    pub connections: u32,
}

/// That a user has another number of connections in a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Change {
    /// Who.
    pub user_id: Arc<str>,
    /// How many at this peer now; 0 for none.
    pub connections: u32,
}

/// Who of one peer's users is in a room, as far as it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Roll {
    /// Which.
    pub room_id: Arc<str>,
    /// Each user at most once.
    pub changes: Vec<Change>,
    /// Whether anybody of this peer is in it after that.
    pub anybody: bool,
    /// How many connections may be in it, over all peers.
    pub most: Option<u32>,
}

impl Roll {
    /// Of a room that holds any number.
    pub fn new(room_id: Arc<str>, changes: Vec<Change>, anybody: bool) -> Self {
        Roll { room_id, changes, anybody, most: None }
    }
}

impl Change {
    /// The user has so many connections in the room now.
    pub fn new(user_id: Arc<str>, connections: u32) -> Self {
        Change { user_id, connections }
    }
}
