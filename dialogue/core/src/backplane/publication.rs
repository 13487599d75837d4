//! Events that a node appends to a room's log, and the outcome.

use std::sync::Arc;

use crate::{
    store::{StoredEvent, StoredKey},
    wire::Id,
};

/// Events that a node appends to the log of a room, with the head of the log as far as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// The id of the room instance.
    pub room_id: Arc<str>,
    /// The epoch of the log; if the log is empty, the epoch that it gets.
    pub epoch: Arc<str>,
    /// The number of the newest event that the node knows; 0 for none.
    pub after: u64,
    /// The id of that event, if the node knows it. Another id at that number means that the log has been replaced.
    pub after_id: Option<Id>,
    /// The events in their order; at least one.
    pub drafts: Vec<Draft>,
    /// True if the events are appended exactly as they are or not at all. Set for audited rooms, where each event holds
    /// a digest of all events before it.
    pub exact: bool,
}

/// An event before the log has numbered it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Draft {
    /// The event, numbered as if no other node wrote; number 0 for an event that is sent to the nodes and kept in no
    /// log.
    pub event: StoredEvent,
    /// The size of the event as it is encoded for clients, in bytes.
    pub size: u32,
}

/// The outcome of a [`Publication`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Published {
    /// The epoch of the log. It differs from the publication's if the node knew of no event and the log has another.
    pub epoch: Arc<str>,
    /// The events between [`Publication::after`] and the node's own, oldest first: other nodes' events that it didn't
    /// know.
    pub missed: Vec<StoredEvent>,
    /// The number of the last event before the node's own. If it isn't that of the last missed event, the log has those
    /// between.
    pub before: u64,
    /// The outcome of each draft, in their order. Of an [exact](Publication::exact) publication: none if any event was
    /// missed, and otherwise those up to the first duplicate, since the drafts behind it are numbered as though it had
    /// been appended.
    pub outcomes: Vec<DraftOutcome>,
}

/// The outcome of a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftOutcome {
    /// The event is in the log, or was sent, in this form: its number, time and offset may have changed.
    Published(StoredEvent),
    /// The event is a retry, by [`StoredKey::is_retried_by`], of the one that was appended under this key.
    Duplicate(StoredKey),
}

impl Publication {
    /// Returns a publication for a room of whose log the node knows nothing.
    pub fn new(room_id: Arc<str>, epoch: Arc<str>, drafts: Vec<Draft>) -> Self {
        Publication { room_id, epoch, after: 0, after_id: None, drafts, exact: false }
    }
}

impl Draft {
    /// Returns a draft of an event whose encoding for clients has `size` bytes.
    pub fn new(event: StoredEvent, size: u32) -> Self {
        Draft { event, size }
    }
}

impl Published {
    /// Creates the outcome of a publication to a log of this epoch, whose last event had the number `before`.
    pub fn new(epoch: Arc<str>, before: u64, outcomes: Vec<DraftOutcome>) -> Self {
        Published { epoch, missed: Vec::new(), before, outcomes }
    }
}
