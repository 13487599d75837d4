//! The quota of new rooms: rooms that clients opened recently, counted by user and by address.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::Mutex;

use super::{Opener, QuotaSubject, RecentRoom, ledger::QuotaLedger};
use crate::{Code, Refusal, live::clock::monotonic_ms, observe::RefusalLog};

/// Bounds on the new rooms of a user and of an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRoomBounds {
    pub(crate) user: usize,
    pub(crate) address: usize,
}

/// The quota of new rooms. A room is new for an hour, and for as long as it has connections; one that leaves no trace
/// doesn't count.
#[derive(Debug)]
pub(in crate::live) struct NewRoomQuota {
    bounds: NewRoomBounds,
    /// Entries beyond this number are dropped, the oldest first.
    max_entries: usize,
    /// A client that has opened more new rooms than this makes space among its own.
    share: usize,
    ledger: Mutex<QuotaLedger>,
    refused_users: RefusalLog,
    refused_addresses: RefusalLog,
}

/// The rooms of a client, as candidates for eviction.
#[derive(Debug)]
pub(in crate::live) struct OpenerRooms {
    pub(in crate::live) subject: QuotaSubject,
    /// Their ids, each with its number.
    pub(in crate::live) rooms: Vec<(u64, Arc<str>)>,
    /// The number of the last room that was scanned, or 0 if all were.
    pub(in crate::live) last: u64,
}

/// A bound on new rooms that a client has reached.
#[derive(Debug)]
pub(in crate::live) struct QuotaExceeded {
    subject: QuotaSubject,
    max: usize,
}

/// Entries that don't count, up to which the list isn't compacted.
const MAX_STALE_ENTRIES: usize = 64;
/// Rooms of a client scanned at a time for unused ones.
const MAX_SCANNED_ROOMS: usize = 1_024;
/// The interval between a query of the store that found no room to evict and the next, in milliseconds.
const QUERY_INTERVAL_MS: u64 = 1_000;
/// A client's share of all rooms, as the divisor, and the least share.
const SHARE_DIVISOR: usize = 16;

impl NewRoomQuota {
    /// Creates the quota of a server with at most `max` rooms.
    pub(in crate::live) fn new(bounds: NewRoomBounds, max: usize) -> Self {
        let share = (max / SHARE_DIVISOR).max(SHARE_DIVISOR);
        NewRoomQuota {
            bounds,
            max_entries: max.saturating_mul(2).max(SHARE_DIVISOR),
            share,
            ledger: Mutex::default(),
            refused_users: RefusalLog::default(),
            refused_addresses: RefusalLog::default(),
        }
    }

    /// Counts a room that is about to be opened.
    ///
    /// # Errors
    ///
    /// Its opener has as many new rooms as the bound allows.
    pub(in crate::live) fn admit(
        &self,
        opener: &Opener,
        room_id: &Arc<str>,
    ) -> Result<Arc<RecentRoom>, QuotaExceeded> {
        let mut ledger = self.ledger.lock();
        ledger.expire(self.max_entries);
        for subject in opener.subjects() {
            let max = match subject {
                QuotaSubject::User(_) => self.bounds.user,
                QuotaSubject::Address(_) => self.bounds.address,
                // These clients only make space among their own rooms.
                QuotaSubject::Anyone => continue,
            };
            if ledger.count(&subject) >= max {
                return Err(QuotaExceeded { subject, max });
            }
        }
        ledger.number += 1;
        let new_room = Arc::new(RecentRoom::new(ledger.number, Arc::clone(room_id), opener.clone()));
        for subject in opener.subjects() {
            let own = ledger.subjects.entry(subject).or_default();
            own.count += 1;
            own.rooms.push_back(Arc::clone(&new_room));
        }
        // The room is new, so an earlier one with its id no longer exists.
        if let Some(before) = ledger.rooms.insert(Arc::clone(room_id), Arc::clone(&new_room)) {
            ledger.withdraw(&before);
        }
        ledger.entries.push_back(Arc::clone(&new_room));
        Ok(new_room)
    }

    /// Returns the refusal of a client that has reached a bound, and logs it, so the caller must hold no lock. A bound
    /// of 0 is not logged: the application refuses all.
    pub(in crate::live) fn refuse(&self, QuotaExceeded { subject, max }: QuotaExceeded) -> Refusal {
        let log = max > 0;
        let whose = match &subject {
            QuotaSubject::User(user) => {
                if log {
                    self.refused_users
                        .user(user, "it has made as many new rooms as it may (`max_new_rooms_per_user`)");
                }
                "a user"
            }
            QuotaSubject::Address(address) => {
                if log {
                    let reason = "it has made as many new rooms as it may (`max_new_rooms_per_address`)";
                    self.refused_addresses.address(*address, reason);
                }
                "an address"
            }
            QuotaSubject::Anyone => "a client",
        };
        let message = format!("{whose} makes at most {max} new rooms an hour, with those that are in use");
        Refusal::new(Code::TooMany, message)
    }

    /// Ends the count of a room that was not opened, or left no trace.
    pub(in crate::live) fn release(&self, new_room: &RecentRoom) {
        let mut ledger = self.ledger.lock();
        if ledger.end(new_room) {
            ledger.stale += 1;
            if ledger.stale > MAX_STALE_ENTRIES.max(ledger.entries.len() / 2) {
                ledger.stale = 0;
                ledger.entries.retain(|new_room| !new_room.ended.load(Ordering::Relaxed));
            }
        }
    }

    /// Returns the subject by which a client has opened more than its share: it makes no space among others' rooms.
    pub(in crate::live) fn over_share(&self, opener: &Opener) -> Option<QuotaSubject> {
        let ledger = self.ledger.lock();
        opener.subjects().find(|subject| ledger.count(subject) > self.share)
    }

    /// Returns rooms of a subject that seem to be unused, in the order of opening. At most [`MAX_SCANNED_ROOMS`] are
    /// scanned, from where the last scan that found none ended.
    pub(in crate::live) fn rooms_of(&self, subject: QuotaSubject) -> OpenerRooms {
        let ledger = self.ledger.lock();
        let (mut rooms, mut last) = (Vec::new(), 0);
        if let Some(own) = ledger.subjects.get(&subject) {
            let next = own.rooms.partition_point(|new_room| new_room.number <= own.after);
            for new_room in own.rooms.range(next..).chain(own.rooms.range(..next)).take(MAX_SCANNED_ROOMS) {
                last = new_room.number;
                if !new_room.is_occupied() {
                    rooms.push((new_room.number, Arc::clone(&new_room.room_id)));
                }
            }
            if own.rooms.len() <= MAX_SCANNED_ROOMS {
                last = 0;
            }
        }
        OpenerRooms { subject, rooms, last }
    }

    /// Starts the next scan of a subject's rooms after number `last`: none up to there could be evicted.
    pub(in crate::live) fn set_scan_cursor(&self, subject: &QuotaSubject, last: u64) {
        if let Some(own) = self.ledger.lock().subjects.get_mut(subject) {
            own.after = last;
        }
    }

    /// Starts the next scan of a subject's rooms with the first: one was evicted.
    pub(in crate::live) fn reset_scan_cursor(&self, subject: &QuotaSubject) {
        self.set_scan_cursor(subject, 0);
    }

    /// Excludes a room from eviction for its opener: it is removed, or can't be.
    pub(in crate::live) fn withdraw(&self, room_id: &str) {
        let mut ledger = self.ledger.lock();
        if let Some(new_room) = ledger.rooms.remove(room_id) {
            ledger.withdraw(&new_room);
        }
    }

    /// Excludes an entry from eviction for its opener: the room is removed.
    pub(in crate::live) fn remove(&self, new_room: &RecentRoom) {
        self.ledger.lock().remove(new_room);
    }

    /// Returns whether the store may be queried for the rooms of a subject that may be evicted.
    pub(in crate::live) fn may_query_store(&self, subject: &QuotaSubject) -> bool {
        self.ledger.lock().subjects.get(subject).is_none_or(|own| own.next_query_at <= monotonic_ms())
    }

    /// Defers the next query of the store for a subject, after none of its rooms up to number `last` could be evicted.
    pub(in crate::live) fn defer_query(&self, subject: &QuotaSubject, last: u64) {
        if let Some(own) = self.ledger.lock().subjects.get_mut(subject) {
            (own.after, own.next_query_at) = (last, monotonic_ms() + QUERY_INTERVAL_MS);
        }
    }
}

impl Default for NewRoomBounds {
    fn default() -> Self {
        NewRoomBounds { user: 1_000, address: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn opener(user: &str, address: &str) -> Opener {
        Opener { user: user.into(), address: address.parse().ok() }
    }

    fn new_room_quota() -> NewRoomQuota {
        NewRoomQuota::new(NewRoomBounds { user: 3, address: 5 }, 1_000)
    }

    fn admit(new_room_quota: &NewRoomQuota, user: &str, address: &str) -> Result<Arc<RecentRoom>, Code> {
        let new_room = new_room_quota.admit(&opener(user, address), &"project:1".into());
        new_room.map_err(|exceeded| new_room_quota.refuse(exceeded).code)
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_and_an_address_open_a_bounded_number_of_rooms_an_hour() {
        let new_room_quota = new_room_quota();
        assert!((0..3).all(|_| admit(&new_room_quota, "a", "203.0.113.7").is_ok()));
        assert_eq!(admit(&new_room_quota, "a", "203.0.113.8").err(), Some(Code::TooMany));
        assert!((0..2).all(|_| admit(&new_room_quota, "b", "203.0.113.7").is_ok()));
        assert_eq!(admit(&new_room_quota, "c", "203.0.113.7").err(), Some(Code::TooMany));
        assert!(admit(&new_room_quota, "c", "203.0.113.8").is_ok());
        tokio::time::advance(Duration::from_secs(3_601)).await;
        assert!(admit(&new_room_quota, "a", "203.0.113.7").is_ok());
        let counts = new_room_quota.ledger.lock().subjects.values().map(|own| own.count).sum::<usize>();
        assert_eq!(counts, 2);
    }

    #[test]
    fn those_who_have_a_new_id_each_time_evict_own_their_own() {
        let new_room_quota = new_room_quota();
        for n in 0..100 {
            admit(&new_room_quota, &format!("anon-{n}"), "nowhere").unwrap();
        }
        assert_eq!(new_room_quota.over_share(&opener("anon-another", "nowhere")), Some(QuotaSubject::Anyone));
        assert_eq!(new_room_quota.over_share(&opener("alice", "nowhere")), None);
        assert_eq!(new_room_quota.over_share(&opener("anon-another", "203.0.113.7")), None);
    }

    #[test]
    fn a_room_without_a_trace_does_not_count() {
        let new_room_quota = new_room_quota();
        for _ in 0..1_000 {
            let new_room = admit(&new_room_quota, "a", "203.0.113.7").unwrap();
            new_room_quota.release(&new_room);
            new_room_quota.release(&new_room);
        }
        let ledger = new_room_quota.ledger.lock();
        assert!(
            ledger.subjects.is_empty()
                && ledger.rooms.is_empty()
                && ledger.entries.len() <= 2 * MAX_STALE_ENTRIES,
            "{}",
            ledger.entries.len()
        );
    }
}
