//! The rooms that seemed to be the least recently used ones at the last full scan, as candidates for eviction.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
};

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::last_use::LastUse;
use crate::live::scan_backoff::ScanBackoff;

/// The times of last use, and the candidates for eviction.
pub(super) struct Eviction {
    pub(super) last_use: LastUse,
    /// The least recently used rooms at the last full scan, in that order; a room may have been used since.
    pub(super) candidates: Mutex<EvictionCandidates>,
    /// The backoff of full scans of the store.
    pub(super) scans: ScanBackoff,
    /// Set if the last full scan, or reading a candidate since, failed.
    pub(super) failed: AtomicBool,
    /// Lets one task evict at a time.
    pub(super) one_at_a_time: Semaphore,
}

/// The candidates for eviction, the least recently used first.
#[derive(Default)]
pub(super) struct EvictionCandidates {
    pub(super) rooms: VecDeque<(u64, Arc<str>)>,
    /// The time of the scan. A room that was used after it can't be ranked among the candidates: rooms outside of them
    /// may be less recently used.
    pub(super) at: u64,
}

impl Default for Eviction {
    fn default() -> Self {
        Eviction {
            last_use: LastUse::default(),
            candidates: Mutex::default(),
            scans: ScanBackoff::default(),
            failed: AtomicBool::new(false),
            one_at_a_time: Semaphore::new(1),
        }
    }
}

impl EvictionCandidates {
    /// Takes the least recently used candidate; with `sure`, the first whose time is known.
    pub(super) fn next(&mut self, sure: bool) -> Option<(u64, Arc<str>)> {
        let place =
            if sure { self.rooms.iter().position(|(last_used, _)| *last_used > 0).unwrap_or(0) } else { 0 };
        self.rooms.remove(place)
    }

    /// Puts back a candidate that was used since it was ranked.
    pub(super) fn put_back(&mut self, since: u64, room_id: Arc<str>) {
        if since <= self.at {
            let place = self.rooms.partition_point(|(last_used, _)| *last_used <= since);
            self.rooms.insert(place, (since, room_id));
        }
    }
}
