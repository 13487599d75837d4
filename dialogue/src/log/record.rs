//! One accepted event.

use bytes::Bytes;

use crate::wire::Id;

/// An event as the log keeps it and everybody reads it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number; ephemeral events have none.
    pub(crate) seq: Option<u64>,
    /// Which of the room's events it is; or [`UNDECLARED`](Self::UNDECLARED).
    pub(crate) event: u8,
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    /// The key of a conflated event: a newer one with the same key takes its place.
    pub(crate) conflated: Option<Box<str>>,
    /// In a room that is audited: the hash chain up to and with this event.
    pub(crate) digest: Option<Box<[u8; 32]>>,
    /// The whole `event` frame, encoded once.
    pub(crate) json: Bytes,
}

impl Record {
    /// An event that this program doesn't declare, of another version: nobody can want it.
    pub(crate) const UNDECLARED: u8 = u8::MAX;

    /// Whether somebody may want it.
    pub(crate) fn is_declared(&self) -> bool {
        self.event != Self::UNDECLARED
    }

    /// What it counts for in a retention by bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.json.len()).unwrap_or(u64::MAX)
    }
}
