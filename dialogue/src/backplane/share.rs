//! What is put into a room that others put events into too.

use std::sync::Arc;

use crate::{
    store::{StoredEvent, StoredKey},
    wire::Id,
};

/// Events for a room, and where its log ends as far as their writer knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Share {
    /// Whose.
    pub room_id: Arc<str>,
    /// The log's incarnation; of a log that is empty, what it is to be called.
    pub epoch: Arc<str>,
    /// The number of the newest event that the writer knows, 0 for none.
    pub after: u64,
    /// Its id, if it is known: another one there means that the log is another.
    pub after_id: Option<Id>,
    /// In their order; at least one.
    pub drafts: Vec<Draft>,
    /// Keeps them as they are or not at all: in a room that is audited, an event holds a digest of all before it.
    pub exact: bool,
}

/// An event that is to be put into a room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Draft {
    /// Numbered as if nobody else wrote, or 0 for one that is told and not kept.
    pub event: StoredEvent,
    /// Bytes of it, as it is encoded for clients.
    pub size: u32,
}

/// What became of a [`Share`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Shared {
    /// The log's incarnation: another than the writer's if that knew of no event.
    pub epoch: Arc<str>,
    /// Events that were there already and that the writer didn't know, oldest first; they come before its own.
    pub missed: Vec<StoredEvent>,
    /// The number of the last event before the writer's own: if it is not the last that was missed, the log has the rest.
    pub before: u64,
    /// What became of each draft. Of [exact](Share::exact) ones: of none, if something was missed; and else of those up to the
    /// first whose key was used before, since those behind it are numbered as though it were kept.
    pub kept: Vec<Kept>,
}

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is in the log, or told, as it is here: its number, time and offset may have changed.
    Event(StoredEvent),
    /// Its key was used before, for this event, by whom [`StoredKey::is_retried_by`] says.
    Seen(StoredKey),
}

impl Share {
    /// Events for a room of whose log nothing is known.
    pub fn new(room_id: Arc<str>, epoch: Arc<str>, drafts: Vec<Draft>) -> Self {
        Share { room_id, epoch, after: 0, after_id: None, drafts, exact: false }
    }
}

impl Draft {
    /// An event, and its bytes as it is encoded for clients.
    pub fn new(event: StoredEvent, size: u32) -> Self {
        Draft { event, size }
    }
}
