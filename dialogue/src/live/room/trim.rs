//! Trimming: the events that retention no longer keeps leave memory and the store.

use std::sync::Arc;

use super::{RoomCore, RoomEffect};
use crate::room::Retention;

/// The plan for trimming the store's part of a log.
#[derive(Debug, Clone)]
pub(crate) struct TrimPlan {
    pub(in crate::live) room_id: Arc<str>,
    /// The epoch under which the store has the log.
    pub(in crate::live) epoch: Arc<str>,
    pub(in crate::live) retention: Retention,
    /// The oldest event that is retained, as far as memory knows, and the newest.
    pub(in crate::live) first: u64,
    pub(in crate::live) head: u64,
    /// The byte offset of the log's end, counting all events that it ever had.
    pub(in crate::live) end: u64,
    /// Set if events from `first` on may be dropped by bytes or age, for which the store has to be read.
    pub(in crate::live) needs_store_lookup: bool,
}

impl RoomCore {
    /// Returns the plan for trimming the room's log in the store, and schedules the next trim after an eighth of the
    /// events that are held, 8 to 1,024.
    pub(in crate::live) fn trim_plan(&mut self) -> TrimPlan {
        self.log.trim(self.time.unix_ms);
        let head = self.log.head().seq;
        self.trim_at = self.log.next_seq() + (head - self.log.first_seq().min(head)).clamp(64, 8_192) / 8;
        TrimPlan {
            room_id: Arc::clone(&self.id),
            epoch: Arc::clone(&self.store_epoch),
            retention: self.room.options.retention,
            first: self.log.first_seq(),
            head,
            end: self.log.end().offset,
            needs_store_lookup: self.log.needs_store_lookup(),
        }
    }

    /// Drops the records from memory that retention no longer keeps.
    pub(in crate::live) fn trim_memory(&mut self) {
        self.log.trim(self.time.unix_ms);
    }

    /// Notes that the store's part of the log was trimmed up to `first`.
    pub(in crate::live) fn trimmed(&mut self, first: u64) {
        self.log.trimmed(first);
    }

    /// Requests a trim of the store's part of the log when its time has come.
    pub(super) fn request_trim_if_due(&mut self) {
        if self.is_stored && self.log.next_seq() > self.trim_at {
            self.trim_at = u64::MAX;
            self.effects.push(RoomEffect::TrimStore);
        }
    }
}
