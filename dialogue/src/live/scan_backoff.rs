//! The backoff of full scans for rooms that may be evicted: a full server that finds none doesn't scan again for each
//! new room.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::collections::HashSet;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The backoff of full scans. After a scan that found too few rooms, the next begins a second later at the earliest;
/// rooms that become free meanwhile are noted.
#[derive(Debug, Default)]
pub(super) struct ScanBackoff {
    /// Set while rooms are noted. Read without the lock, since each room that becomes idle reads it.
    on: AtomicBool,
    noted: Mutex<NotedRooms>,
    /// The number of scans that began.
    #[cfg(test)]
    pub(super) begun: std::sync::atomic::AtomicUsize,
}

/// A scan under way. When it is dropped, the next scan has to wait, unless this one found enough.
#[derive(Debug)]
pub(super) struct ScanGuard<'a>(&'a ScanBackoff);

#[derive(Debug, Default)]
struct NotedRooms {
    wait: NextScan,
    rooms: VecDeque<Arc<str>>,
    /// The same rooms as a set: each is noted once.
    queued: HashSet<Arc<str>>,
}

/// The time at which the next scan may begin.
#[derive(Debug, Default)]
enum NextScan {
    /// At any time.
    #[default]
    Off,
    /// After the one under way.
    Scanning,
    Until(Instant),
}

/// The time from the end of one scan to the next.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Rooms that are noted; with more, the next scan is worth its cost.
const MAX_NOTED_ROOMS: usize = 1_024;

impl ScanBackoff {
    /// Begins a scan. Rooms are noted from now on, so that one that becomes free after the scan has passed it isn't
    /// missed.
    pub(super) fn begin(&self) -> ScanGuard<'_> {
        *self.noted.lock() = NotedRooms { wait: NextScan::Scanning, ..NotedRooms::default() };
        self.on.store(true, Ordering::Release);
        #[cfg(test)]
        self.begun.fetch_add(1, Ordering::Relaxed);
        ScanGuard(self)
    }

    /// Returns whether a scan has to wait.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire) && self.lasts(&mut self.noted.lock())
    }

    /// Notes a room that may be evicted now.
    pub(super) fn note(&self, room_id: &Arc<str>) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let mut noted = self.noted.lock();
        if !self.lasts(&mut noted) || noted.queued.contains(room_id) {
            return;
        }
        if noted.rooms.len() == MAX_NOTED_ROOMS {
            return self.end_of(&mut noted);
        }
        noted.queued.insert(Arc::clone(room_id));
        noted.rooms.push_back(Arc::clone(room_id));
    }

    /// Takes the room that was noted first; it may be in use again.
    pub(super) fn next(&self) -> Option<Arc<str>> {
        let mut noted = self.noted.lock();
        let room_id = noted.rooms.pop_front()?;
        noted.queued.remove(&room_id);
        Some(room_id)
    }

    fn lasts(&self, noted: &mut NotedRooms) -> bool {
        let lasts = match noted.wait {
            NextScan::Off => false,
            NextScan::Scanning => true,
            NextScan::Until(end) => Instant::now() < end,
        };
        if !lasts {
            self.end_of(noted);
        }
        lasts
    }

    fn end_of(&self, noted: &mut NotedRooms) {
        *noted = NotedRooms::default();
        self.on.store(false, Ordering::Release);
    }
}

impl ScanGuard<'_> {
    /// Allows the next scan at once.
    pub(super) fn found_enough(self) {
        self.0.end_of(&mut self.0.noted.lock());
    }
}

impl Drop for ScanGuard<'_> {
    fn drop(&mut self) {
        let mut noted = self.0.noted.lock();
        if matches!(noted.wait, NextScan::Scanning) {
            noted.wait = NextScan::Until(Instant::now() + SCAN_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(backoff: &ScanBackoff, room_id: &str) {
        backoff.note(&room_id.into());
    }

    #[tokio::test(start_paused = true)]
    async fn rooms_are_noted_for_a_second() {
        let backoff = ScanBackoff::default();
        note(&backoff, "project:1");
        assert!(!backoff.is_on() && backoff.next().is_none());
        let scan = backoff.begin();
        ["project:2", "project:3", "project:2"].into_iter().for_each(|room_id| note(&backoff, room_id));
        // The second begins with the end of the scan, however long that takes.
        tokio::time::advance(2 * SCAN_INTERVAL).await;
        assert!(backoff.is_on());
        drop(scan);
        assert_eq!(backoff.next().as_deref(), Some("project:2"));
        assert_eq!(backoff.next().as_deref(), Some("project:3"));
        assert!(backoff.is_on() && backoff.next().is_none());
        note(&backoff, "project:2");
        tokio::time::advance(SCAN_INTERVAL).await;
        assert!(!backoff.is_on() && backoff.next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_noted_rooms_are_worth_a_scan() {
        let backoff = ScanBackoff::default();
        drop(backoff.begin());
        (0..MAX_NOTED_ROOMS).for_each(|n| note(&backoff, &n.to_string()));
        note(&backoff, "0");
        assert!(backoff.is_on());
        note(&backoff, "one more");
        assert!(!backoff.is_on() && backoff.next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_scan_that_found_enough_is_followed_by_the_next_at_once() {
        let backoff = ScanBackoff::default();
        let scan = backoff.begin();
        note(&backoff, "project:1");
        scan.found_enough();
        assert!(!backoff.is_on() && backoff.next().is_none());
    }
}
