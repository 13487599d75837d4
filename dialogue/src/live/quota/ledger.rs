//! The ledger of the quota: the entries of recent rooms, by room and by subject.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use super::{QuotaSubject, RecentRoom};
use crate::{collections::HashMap, live::clock::monotonic_ms};

/// The entries of recent rooms, by room and by subject.
#[derive(Debug, Default)]
pub(super) struct QuotaLedger {
    /// All entries, in the order in which they are checked again.
    pub(super) entries: VecDeque<Arc<RecentRoom>>,
    pub(super) subjects: HashMap<QuotaSubject, SubjectRooms>,
    /// The entry of each room that may be evicted for its opener.
    pub(super) rooms: HashMap<Arc<str>, Arc<RecentRoom>>,
    /// The number of rooms ever counted.
    pub(super) number: u64,
    /// The number of entries that no longer count.
    pub(super) stale: usize,
}

/// The new rooms of a subject.
#[derive(Debug, Default)]
pub(super) struct SubjectRooms {
    pub(super) count: usize,
    /// Those that may be evicted for others of the subject, in the order of their numbers.
    pub(super) rooms: VecDeque<Arc<RecentRoom>>,
    /// The number after which the next scan begins; a scan that found none moves it on.
    pub(super) after: u64,
    /// The time at which the store may be queried again for those that may be evicted, in milliseconds of
    /// [`monotonic_ms`].
    pub(super) next_query_at: u64,
}

/// The time for which a room is new, in milliseconds.
const NEW_ROOM_MS: u64 = 3_600_000;

impl QuotaLedger {
    /// Returns the number of new rooms of a subject.
    pub(super) fn count(&self, subject: &QuotaSubject) -> usize {
        self.subjects.get(subject).map_or(0, |own| own.count)
    }

    /// Removes the entries that are no longer new, and those beyond `max`.
    pub(super) fn expire(&mut self, max: usize) {
        let now = monotonic_ms();
        // Entries in use are moved to the end, each at most once.
        for _ in 0..self.entries.len() {
            let Some(first) = self.entries.front() else { return };
            let should_close = first.ended.load(Ordering::Relaxed);
            let is_new = first.new_since_ms.load(Ordering::Relaxed).saturating_add(NEW_ROOM_MS) > now;
            if is_new && !should_close && self.entries.len() <= max {
                return;
            }
            let Some(first) = self.entries.pop_front() else { return };
            if should_close {
                self.stale = self.stale.saturating_sub(1);
            } else if !is_new && first.is_occupied() {
                first.new_since_ms.store(now, Ordering::Relaxed);
                self.entries.push_back(first);
            } else {
                self.end(&first);
            }
        }
    }

    /// Ends the count of a room; returns whether it still counted.
    pub(super) fn end(&mut self, new_room: &RecentRoom) -> bool {
        if new_room.ended.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.remove(new_room);
        for subject in new_room.opener.subjects() {
            if let Some(own) = self.subjects.get_mut(&subject) {
                own.count = own.count.saturating_sub(1);
                if own.count == 0 {
                    self.subjects.remove(&subject);
                }
            }
        }
        true
    }

    /// Removes a room's entry from the eviction candidates, unless another room has taken its id.
    pub(super) fn remove(&mut self, new_room: &RecentRoom) {
        if self.rooms.get(&new_room.room_id).is_some_and(|other| other.number == new_room.number) {
            self.rooms.remove(&new_room.room_id);
        }
        self.withdraw(new_room);
    }

    /// Excludes an entry from eviction for its opener.
    pub(super) fn withdraw(&mut self, new_room: &RecentRoom) {
        for subject in new_room.opener.subjects() {
            if let Some(own) = self.subjects.get_mut(&subject)
                && let Ok(place) =
                    own.rooms.binary_search_by_key(&new_room.number, |new_room| new_room.number)
            {
                own.rooms.remove(place);
            }
        }
    }
}
