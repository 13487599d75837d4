//! This node's rooms, as the other nodes' messages concern them.

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use super::{
    RoomNotice,
    backplane::{FeedEvents, MemberChange},
};
use crate::wire::Id;

/// The rooms that are live on this node. Messages about any other room are ignored.
pub(crate) trait SharedRooms: Send + Sync {
    /// Receives events that another node published.
    fn receive_events(&self, events: FeedEvents);

    /// Receives changes to the members of a room at another node.
    fn receive_members(&self, room_id: &str, node: Id, changes: Vec<MemberChange>);

    /// Receives a notice about a room.
    fn receive_notice(&self, room_id: &str, notice: RoomNotice);

    /// Compares a room with the backplane, since messages about it may have been lost.
    fn catch_up(&self, room_id: &str);

    /// Receives the list of nodes, and the one before: the members at all other nodes are gone.
    fn set_nodes(&self, before: &Arc<BTreeSet<Id>>, nodes: &Arc<BTreeSet<Id>>);

    /// Returns the ids of some rooms after `after`, in their order; none at the end.
    fn rooms_after(&self, after: Option<&str>) -> Vec<Arc<str>>;

    /// Returns the head of the log of a room.
    fn head(&self, room_id: &str) -> Option<HeadMark>;

    /// Checks that the store responds, so that an outage isn't first noticed by a refused event.
    fn check_store(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The newest event of a log as two integers: enough to notice that two logs differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeadMark {
    /// The event's `seq`; 0 in a log that never had an event.
    pub(crate) seq: u64,
    /// The first bytes of the event's id.
    pub(crate) id_prefix: u64,
}

/// Returns the first eight bytes of an event's id, which stand for it in comparisons between nodes.
pub(crate) fn id_prefix(event_id: &str) -> u64 {
    event_id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
