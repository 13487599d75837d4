//! The record of one accepted event.

use bytes::Bytes;

use crate::wire::{EventIndex, Id};

/// An event as the log keeps it and all subscriptions read it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number; `None` for an ephemeral event.
    pub(crate) seq: Option<u64>,
    /// The index of the event among those of the room; or [`EventIndex::UNDECLARED`].
    pub(crate) event: EventIndex,
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    /// The key of a conflated event: a newer event with the same key replaces it.
    pub(crate) conflated: Option<Box<str>>,
    /// In an audited room: the hash chain up to and including this event.
    pub(crate) digest: Option<Box<[u8; 32]>>,
    /// The whole `event` frame, encoded once.
    pub(crate) json: Bytes,
}

impl Record {
    /// Returns whether the room declares the event.
    pub(crate) fn is_declared(&self) -> bool {
        self.event != EventIndex::UNDECLARED
    }

    /// Returns the bytes that it counts for in a retention by bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.json.len()).unwrap_or(u64::MAX)
    }
}
