//! The members of a room at the nodes, and changes to them.

use std::sync::Arc;

use crate::wire::Id;

/// A user with connections in a room at one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Member {
    /// The node that holds the connections.
    pub node: Id,
    /// The user's id.
    pub user_id: Arc<str>,
    /// The number of the user's connections in the room at that node; at least 1.
    pub connections: u32,
}

/// A new number of connections that a user has in a room at one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MemberChange {
    /// The user's id.
    pub user_id: Arc<str>,
    /// The number of connections from now on; 0 if the user has left.
    pub connections: u32,
}

/// Changes to the members that a room has at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MembersUpdate {
    /// The id of the room instance.
    pub room_id: Arc<str>,
    /// The changes, each user at most once.
    pub changes: Vec<MemberChange>,
    /// True if the room has any member at this node after the changes. If not, a backplane can forget the pair of node
    /// and room.
    pub has_members: bool,
    /// The maximum of the room's connections over all nodes, or `None` without a bound.
    pub max_connections: Option<u32>,
}

impl MembersUpdate {
    /// Returns an update for a room without a bound on its connections.
    pub fn new(room_id: Arc<str>, changes: Vec<MemberChange>, has_members: bool) -> Self {
        MembersUpdate { room_id, changes, has_members, max_connections: None }
    }
}

impl MemberChange {
    /// Returns the change of a user to this number of connections.
    pub fn new(user_id: Arc<str>, connections: u32) -> Self {
        MemberChange { user_id, connections }
    }
}

impl Member {
    /// Creates a member: a user with so many connections at a node.
    pub fn new(node: Id, user_id: Arc<str>, connections: u32) -> Self {
        Member { node, user_id, connections }
    }
}
