//! The times at which rooms were last used, by which they are ranked for eviction.
//!
//! The record `left/ID` holds the time at which a room was last used, as 8 bytes of Unix milliseconds, as far as no
//! event shows it. It is written when the room is added to the catalog, when its state is saved, and a moment after its
//! instance opens or leaves memory.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;

use crate::{collections::HashMap, live::clock::unix_ms};

/// The times of last use that this node gave, of which some aren't written yet.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    unsaved: Mutex<HashMap<Arc<str>, u64>>,
    /// The newest time given so far.
    newest: Mutex<u64>,
}

/// The prefix of the keys of all these records.
pub(super) const LAST_USED_PREFIX: &str = "left/";
/// Times written in one call.
const MAX_SAVED_TIMES: usize = 1_000;

impl LastUse {
    /// Notes that a room is used now.
    pub(super) fn note(&self, room_id: &Arc<str>) {
        let time = self.next_time();
        self.unsaved.lock().insert(Arc::clone(room_id), time);
    }

    /// Drops the noted time of a removed room.
    pub(super) fn forget(&self, room_id: &str) {
        self.unsaved.lock().remove(room_id);
    }

    /// Returns the noted time of a room that isn't written yet.
    pub(super) fn unsaved(&self, room_id: &str) -> Option<u64> {
        self.unsaved.lock().get(room_id).copied()
    }

    /// Adds all times that aren't written yet to `times`.
    pub(super) fn add_unsaved_to(&self, times: &mut HashMap<Arc<str>, u64>) {
        times.extend(self.unsaved.lock().iter().map(|(room_id, time)| (Arc::clone(room_id), *time)));
    }

    /// Returns up to [`MAX_SAVED_TIMES`] times to write.
    pub(super) fn next_unsaved(&self) -> Vec<(Arc<str>, u64)> {
        let unsaved = self.unsaved.lock();
        unsaved.iter().take(MAX_SAVED_TIMES).map(|(room_id, time)| (Arc::clone(room_id), *time)).collect()
    }

    /// Notes that these times were written, except for rooms that were used again meanwhile.
    pub(super) fn saved(&self, times: Vec<(Arc<str>, u64)>) {
        let mut unsaved = self.unsaved.lock();
        for (room_id, time) in times {
            if unsaved.get(&room_id) == Some(&time) {
                unsaved.remove(&room_id);
            }
        }
    }

    /// Returns a time that is later than all given before, so that two rooms that were used in the same millisecond
    /// have an order, too.
    pub(super) fn next_time(&self) -> u64 {
        let mut newest = self.newest.lock();
        *newest = unix_ms().max(*newest + 1);
        *newest
    }
}

/// Returns the key of a room's record.
pub(super) fn key(room_id: &str) -> String {
    format!("{LAST_USED_PREFIX}{room_id}")
}

/// Returns the record that notes that a room was used at `time`.
pub(super) fn use_record(room_id: &str, time: u64) -> (String, Option<Bytes>) {
    (key(room_id), Some(Bytes::copy_from_slice(&time.to_be_bytes())))
}

/// Returns the time in a record.
pub(super) fn time(mut record: &[u8]) -> Option<u64> {
    record.try_get_u64().ok()
}
