//! The backoff of full scans for rooms that may go: a full server that finds none doesn't scan again for each newcomer.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The backoff of full scans for rooms that may go. After a scan that found too few, the next comes a moment later at
/// the earliest; rooms that become free meanwhile are noted.
#[derive(Debug, Default)]
pub(super) struct ScanBackoff {
    /// Set while rooms are noted. Read without the lock, since each room that comes to rest looks.
    on: AtomicBool,
    noted: Mutex<Noted>,
    /// Scans that began.
    #[cfg(test)]
    pub(super) begun: std::sync::atomic::AtomicUsize,
}

/// A scan that is under way. Unless it found enough, the next has to wait once it is dropped.
#[derive(Debug)]
pub(super) struct Scan<'a>(&'a ScanBackoff);

#[derive(Debug, Default)]
struct Noted {
    wait: Wait,
    rooms: VecDeque<Arc<str>>,
    /// The same rooms: each is noted once.
    queued: HashSet<Arc<str>>,
}

/// The time at which the next scan may begin.
#[derive(Debug, Default)]
enum Wait {
    /// At any time.
    #[default]
    Off,
    /// After the one that is under way.
    Scanning,
    Until(Instant),
}

/// From the end of one scan to the next.
const EVERY: Duration = Duration::from_secs(1);
/// Rooms that are noted; with more, the next scan is worth its cost.
const MOST: usize = 1_024;

impl ScanBackoff {
    /// Begins a scan. Rooms are noted from now on, so that one that becomes free behind the scan isn't missed.
    pub(super) fn begin(&self) -> Scan<'_> {
        *self.noted.lock() = Noted { wait: Wait::Scanning, ..Noted::default() };
        self.on.store(true, Ordering::Release);
        #[cfg(test)]
        self.begun.fetch_add(1, Ordering::Relaxed);
        Scan(self)
    }

    /// Returns whether a scan has to wait.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire) && self.lasts(&mut self.noted.lock())
    }

    /// Notes a room that may go now.
    pub(super) fn note(&self, room_id: &Arc<str>) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let mut noted = self.noted.lock();
        if !self.lasts(&mut noted) || noted.queued.contains(room_id) {
            return;
        }
        if noted.rooms.len() == MOST {
            return self.end_of(&mut noted);
        }
        noted.queued.insert(Arc::clone(room_id));
        noted.rooms.push_back(Arc::clone(room_id));
    }

    /// Takes out the room that was noted first; it may be in use again.
    pub(super) fn next(&self) -> Option<Arc<str>> {
        let mut noted = self.noted.lock();
        let room_id = noted.rooms.pop_front()?;
        noted.queued.remove(&room_id);
        Some(room_id)
    }

    fn lasts(&self, noted: &mut Noted) -> bool {
        let lasts = match noted.wait {
            Wait::Off => false,
            Wait::Scanning => true,
            Wait::Until(end) => Instant::now() < end,
        };
        if !lasts {
            self.end_of(noted);
        }
        lasts
    }

    fn end_of(&self, noted: &mut Noted) {
        *noted = Noted::default();
        self.on.store(false, Ordering::Release);
    }
}

impl Scan<'_> {
    /// Lets the next scan come at once.
    pub(super) fn found_enough(self) {
        self.0.end_of(&mut self.0.noted.lock());
    }
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        let mut noted = self.0.noted.lock();
        if matches!(noted.wait, Wait::Scanning) {
            noted.wait = Wait::Until(Instant::now() + EVERY);
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
        tokio::time::advance(2 * EVERY).await;
        assert!(backoff.is_on());
        drop(scan);
        assert_eq!(backoff.next().as_deref(), Some("project:2"));
        assert_eq!(backoff.next().as_deref(), Some("project:3"));
        assert!(backoff.is_on() && backoff.next().is_none());
        note(&backoff, "project:2");
        tokio::time::advance(EVERY).await;
        assert!(!backoff.is_on() && backoff.next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_noted_rooms_are_worth_a_scan() {
        let backoff = ScanBackoff::default();
        drop(backoff.begin());
        (0..MOST).for_each(|n| note(&backoff, &n.to_string()));
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
