//! The commands that read a room in memory.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::value::RawValue;

use super::Reply;
use crate::{
    audit::Anchor,
    collections::HashSet,
    live::{ConnectionId, room::SavedState},
    log::{LogPage, Record, RecordPage},
    store::Query,
    wire::{EventSet, Id, frame::EncodedFrame},
};

/// A read of a room in memory.
#[derive(Debug)]
pub(crate) enum RoomRead {
    /// The `members` frame with this `id`: up to `limit` users after `after`.
    Members { after: Option<String>, limit: usize, id: Option<Box<RawValue>>, reply: Reply<EncodedFrame> },
    /// The ids of all users in the room, at any node.
    UserIds(Reply<Vec<String>>),
    /// The other nodes at which a user is in the room.
    NodesOfUser(Arc<str>, Reply<BTreeSet<Id>>),
    /// The users who are in the room at other nodes.
    RemoteUsers(Reply<Arc<HashSet<Arc<str>>>>),
    /// The log's epoch.
    Epoch(Reply<Arc<str>>),
    /// The saved state.
    SavedState(Reply<SavedState>),
    /// The room's capacity, if the connection needs a new place in it.
    NeededPlace(ConnectionId, Reply<Option<u32>>),
    /// Up to `limit` events before `before`, newest first.
    History { before: Option<u64>, filter: EventSet, limit: usize, reply: Reply<LogPage> },
    /// The records that a query selects from a log that is held in memory alone.
    Select(Box<Query>, Reply<RecordPage>),
    /// The oldest `seq` that the log may hold of these events.
    FirstSeq(EventSet, Reply<u64>),
    /// Those of some records that retention still keeps, and that are in the set.
    Retained(Vec<Arc<Record>>, EventSet, Reply<Vec<Arc<Record>>>),
    /// The log's epoch, and the end of its hash chain.
    ChainEnd(Reply<(Arc<str>, Anchor)>),
    /// Up to `limit` records after `after`, of a log that is held in memory alone.
    Chain { after: u64, limit: usize, reply: Reply<Vec<Arc<Record>>> },
}
