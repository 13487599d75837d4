//! Eviction from the store at the bound on rooms: the least recently used rooms that weren't created explicitly are
//! removed.
//!
//! The record `left/ID` holds the time at which a room was last used, as 8 bytes of Unix milliseconds, as far as no
//! event shows it. It is written when the room is added to the catalog, when its state is saved, and a moment after its
//! instance opens or leaves memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::Archive;
use crate::{
    cluster::RoomNotice,
    live::{LiveRoom, clock::unix_ms, room_spec::RoomInstanceInfo, scan_backoff::ScanBackoff},
    store::StoreError,
};

/// The times of last use that are to be written, and the candidates for eviction.
pub(super) struct Eviction {
    /// Times that aren't written yet.
    unsaved: Mutex<HashMap<Arc<str>, u64>>,
    /// The newest time given so far.
    newest: Mutex<u64>,
    /// The least recently used rooms at the last full scan, in that order; a room may have been used since.
    candidates: Mutex<EvictionCandidates>,
    /// The backoff of full scans of the store.
    scans: ScanBackoff,
    /// Set if the last full scan, or reading a candidate since, failed.
    failed: AtomicBool,
    /// Lets one task evict at a time.
    one_at_a_time: Semaphore,
}

/// The outcome of trying to evict a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum EvictionOutcome {
    Evicted,
    /// The catalog doesn't have the room, or it was created explicitly: it can't be evicted later either.
    Kept,
    /// The room is in use.
    InUse,
}

/// The candidates that remain after an eviction, of those that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RemainingCandidates {
    Available,
    Exhausted,
}

#[derive(Default)]
struct EvictionCandidates {
    rooms: VecDeque<(u64, Arc<str>)>,
    /// The time of the scan. A room that was used after it can't be ranked among the candidates: rooms outside of them
    /// may be less recently used.
    at: u64,
}

const LAST_USED_PREFIX: &str = "left/";
/// Rooms checked in one eviction, and rooms evicted by it at most.
const MAX_SCANNED_ROOMS: usize = 256;
const MAX_EVICTED_ROOMS: usize = 16;
/// The fraction of all rooms that is evicted at a time, as its divisor: a new room needs one place, but a full scan
/// should serve more than that.
const EVICTION_DIVISOR: usize = 128;
/// Candidates remembered of a full scan.
const MAX_CANDIDATES: usize = 1_024;
/// Times written in one call.
const MAX_SAVED_TIMES: usize = 1_000;
/// Records per page of a full scan.
const SCAN_PAGE_RECORDS: usize = 1_000;

impl Default for Eviction {
    fn default() -> Self {
        Eviction {
            unsaved: Mutex::default(),
            newest: Mutex::default(),
            candidates: Mutex::default(),
            scans: ScanBackoff::default(),
            failed: AtomicBool::new(false),
            one_at_a_time: Semaphore::new(1),
        }
    }
}

impl Archive {
    /// Notes that a room is used now.
    pub(in crate::live) fn note_used(&self, room_id: &Arc<str>) {
        let time = self.next_use_time();
        self.eviction.unsaved.lock().insert(Arc::clone(room_id), time);
    }

    /// Notes that a room left memory, and is thereby unused at this node.
    pub(in crate::live) fn note_unloaded(&self, instance: &LiveRoom) {
        self.note_used(&instance.id);
        if !instance.info().is_permanent() {
            self.eviction.scans.note(&instance.id);
        }
    }

    /// Writes the noted times; those that can't be written are tried again in the next round.
    pub(in crate::live) async fn save_last_used(&self) {
        let times: Vec<_> = {
            let unsaved = self.eviction.unsaved.lock();
            unsaved.iter().take(MAX_SAVED_TIMES).map(|(room_id, time)| (Arc::clone(room_id), *time)).collect()
        };
        if times.is_empty() {
            return;
        }
        let records = times.iter().map(|(room_id, time)| use_record(room_id, *time)).collect();
        if let Err(error) = self.journal.put(records).await {
            return tracing::debug!(%error, "the times at which rooms were used can't be written");
        }
        let mut unsaved = self.eviction.unsaved.lock();
        for (room_id, time) in times {
            if unsaved.get(&room_id) == Some(&time) {
                unsaved.remove(&room_id);
            }
        }
    }

    /// Returns the record that notes that a room is used now.
    pub(super) fn used_now(&self, room_id: &str) -> (String, Option<Bytes>) {
        use_record(room_id, self.next_use_time())
    }

    /// Drops the noted time of a removed room.
    pub(super) fn forget_use(&self, room_id: &str) {
        self.eviction.unsaved.lock().remove(room_id);
    }

    /// Evicts the least recently used rooms that are unused at all nodes and weren't created explicitly; returns them.
    /// Awaits `renew_epoch` before it removes a room's log; that returns whether it renewed the epoch just now.
    ///
    /// For a second after a full scan that found too few, only its remaining candidates, and rooms that left memory
    /// since, are checked.
    ///
    /// # Errors
    ///
    /// The store can't be read or written, and no room was evicted.
    pub(in crate::live) async fn evict<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        max: usize,
        is_live: impl Fn(&str) -> bool,
        renew_epoch: impl Fn() -> F,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let Ok(_turn) = self.eviction.one_at_a_time.acquire().await else { return Ok(Vec::new()) };
        if self.total_rooms() < max {
            // Another task made space meanwhile.
            return Ok(Vec::new());
        }
        let max_evicted = max.div_ceil(EVICTION_DIVISOR).min(MAX_EVICTED_ROOMS);
        let mut evicted = Vec::new();
        let result = self.evict_with_backoff(&mut evicted, max_evicted, &is_live, &renew_epoch).await;
        if result.is_err() {
            self.eviction.failed.store(true, Ordering::Relaxed);
        }
        // Rooms that were evicted before the error are returned, since they are still to be announced.
        if evicted.is_empty() { result.map(|()| evicted) } else { Ok(evicted) }
    }

    /// Checks the remembered candidates, then the rooms that left memory since, and scans all rooms if need be.
    async fn evict_with_backoff<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        evicted: &mut Vec<Arc<str>>,
        max_evicted: usize,
        is_live: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<(), StoreError> {
        let candidates = self.evict_candidates(evicted, max_evicted, is_live, renew_epoch).await?;
        if self.eviction.scans.is_on() {
            self.evict_noted(evicted, max_evicted, is_live, renew_epoch).await?;
            if candidates == RemainingCandidates::Exhausted && self.eviction.failed.load(Ordering::Relaxed) {
                return Err(StoreError::new("the rooms in the store could not be scanned a moment ago"));
            }
        } else if candidates == RemainingCandidates::Exhausted {
            let scan = self.eviction.scans.begin();
            self.full_scan(is_live).await?;
            self.eviction.failed.store(false, Ordering::Relaxed);
            let candidates = self.evict_candidates(evicted, max_evicted, is_live, renew_epoch).await?;
            if candidates == RemainingCandidates::Available && !evicted.is_empty() {
                scan.found_enough();
            }
        }
        Ok(())
    }

    /// Checks the rooms that left memory since the last full scan.
    async fn evict_noted<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        evicted: &mut Vec<Arc<str>>,
        max_evicted: usize,
        is_live: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<(), StoreError> {
        for _ in 0..MAX_SCANNED_ROOMS {
            if evicted.len() == max_evicted {
                break;
            }
            let Some(room_id) = self.eviction.scans.next() else { break };
            if self.evict_if_unused(&room_id, is_live, renew_epoch).await? == EvictionOutcome::Evicted {
                evicted.push(room_id);
            }
        }
        Ok(())
    }

    /// Checks the remembered candidates.
    async fn evict_candidates<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        evicted: &mut Vec<Arc<str>>,
        max_evicted: usize,
        is_live: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<RemainingCandidates, StoreError> {
        let mut scanned = 0;
        while scanned < MAX_SCANNED_ROOMS && evicted.len() < max_evicted {
            let is_last = scanned + 1 == MAX_SCANNED_ROOMS;
            let next = self.eviction.candidates.lock().next(is_last && evicted.is_empty());
            let Some((ranked, room_id)) = next else { return Ok(RemainingCandidates::Exhausted) };
            if is_live(&room_id) {
                // This check doesn't read the store.
                continue;
            }
            scanned += 1;
            let since = self.last_used(&room_id).await?;
            if since > ranked && !is_last {
                self.eviction.candidates.lock().put_back(since, room_id);
            } else if self.evict_if_unused(&room_id, is_live, renew_epoch).await? == EvictionOutcome::Evicted
            {
                evicted.push(room_id);
            }
        }
        Ok(RemainingCandidates::Available)
    }

    /// Evicts a room unless it was created explicitly, or is in use at any node.
    pub(in crate::live) async fn evict_if_unused<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        room_id: &Arc<str>,
        is_live: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<EvictionOutcome, StoreError> {
        let mut unused = self.unused(room_id, is_live).await?;
        // Before the log is removed, since a log that replaces it needs another epoch. The room may be used meanwhile.
        if unused.is_ok() && renew_epoch().await? {
            unused = self.unused(room_id, is_live).await?;
        }
        let info = match unused {
            // It may have been opened meanwhile.
            Ok(_) if is_live(room_id) => return Ok(EvictionOutcome::InUse),
            Ok(info) => info,
            Err(outcome) => return Ok(outcome),
        };
        self.remove_room(room_id, &info, true).await?;
        if let Some(cluster) = &self.cluster {
            // An instance of it that is still in memory closes.
            cluster.notify(room_id, RoomNotice::Deleted);
        }
        Ok(EvictionOutcome::Evicted)
    }

    /// Returns the info of a room that may be evicted, or the reason why it may not.
    async fn unused(
        &self,
        room_id: &Arc<str>,
        is_live: &impl Fn(&str) -> bool,
    ) -> Result<Result<RoomInstanceInfo, EvictionOutcome>, StoreError> {
        if is_live(room_id) {
            return Ok(Err(EvictionOutcome::InUse));
        }
        let Some(info) = self.known(room_id).await?.filter(|info| !info.is_permanent()) else {
            return Ok(Err(EvictionOutcome::Kept));
        };
        if let Some(cluster) = &self.cluster
            && cluster.size(room_id).await? > 0
        {
            return Ok(Err(EvictionOutcome::InUse));
        }
        Ok(Ok(info))
    }

    /// Returns the time at which a room was last used.
    async fn last_used(&self, room_id: &Arc<str>) -> Result<u64, StoreError> {
        let (record, head) =
            tokio::try_join!(async { self.journal.get(&key(room_id)).await }, self.journal.head(room_id))?;
        let written = record.as_deref().and_then(time).unwrap_or(0);
        let unsaved = self.eviction.unsaved.lock().get(room_id).copied().unwrap_or(0);
        Ok(written.max(unsaved).max(head.map_or(0, |head| head.last.timestamp)))
    }

    /// Scans all rooms that aren't in memory, and remembers the least recently used ones.
    async fn full_scan(&self, is_live: &impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let at = unix_ms();
        let mut last_used = HashMap::new();
        let mut last: Option<String> = None;
        loop {
            let page = self.journal.scan(LAST_USED_PREFIX, last.as_deref(), SCAN_PAGE_RECORDS).await?;
            let Some((end, _)) = page.last() else { break };
            last = Some(end.clone());
            let times = page
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(LAST_USED_PREFIX)?, time(value)?)));
            last_used.extend(times.map(|(room_id, time)| (Arc::<str>::from(room_id), time)));
        }
        last_used
            .extend(self.eviction.unsaved.lock().iter().map(|(room_id, time)| (Arc::clone(room_id), *time)));
        let (mut rooms, mut last) = (Vec::new(), None::<Arc<str>>);
        loop {
            let (page, next) = self.rooms(last.as_deref(), SCAN_PAGE_RECORDS).await?;
            // Rooms in memory are noted when they leave it; as candidates they would only take the places of others.
            let free = page.into_iter().filter(|(room_id, info)| !info.is_permanent() && !is_live(room_id));
            rooms.extend(free.map(|(room_id, _)| (last_used.get(&room_id).copied().unwrap_or(0), room_id)));
            match next {
                Some(next) => last = Some(next),
                None => break,
            }
        }
        rooms.sort_unstable();
        let rooms = self.unused_first(rooms).await?;
        *self.eviction.candidates.lock() = EvictionCandidates { rooms: rooms.into(), at };
        Ok(())
    }

    /// Returns the first candidates, with those last that seem to be used at other nodes: a room that has been in use
    /// for long has an old time of last use, too, and would take the place of another.
    async fn unused_first(
        &self,
        mut rooms: Vec<(u64, Arc<str>)>,
    ) -> Result<Vec<(u64, Arc<str>)>, StoreError> {
        let Some(cluster) = &self.cluster else {
            rooms.truncate(MAX_CANDIDATES);
            return Ok(rooms);
        };
        let (mut unused, mut used) = (Vec::new(), Vec::new());
        for asked in rooms.chunks(MAX_SCANNED_ROOMS) {
            let room_ids: Vec<_> = asked.iter().map(|(_, room_id)| Arc::clone(room_id)).collect();
            let sizes = cluster.sizes(&room_ids).await?;
            for (room, size) in asked.iter().zip(sizes) {
                let rooms = if size == 0 { &mut unused } else { &mut used };
                rooms.push(room.clone());
            }
            if unused.len() >= MAX_SCANNED_ROOMS {
                break;
            }
        }
        unused.append(&mut used);
        unused.truncate(MAX_CANDIDATES);
        Ok(unused)
    }

    /// Returns a time that is later than all given before, so that two rooms that were used in the same millisecond
    /// have an order, too.
    fn next_use_time(&self) -> u64 {
        let mut newest = self.eviction.newest.lock();
        *newest = unix_ms().max(*newest + 1);
        *newest
    }
}

impl EvictionCandidates {
    /// Takes the least recently used candidate; with `sure`, the first whose time is known.
    fn next(&mut self, sure: bool) -> Option<(u64, Arc<str>)> {
        let place =
            if sure { self.rooms.iter().position(|(last_used, _)| *last_used > 0).unwrap_or(0) } else { 0 };
        self.rooms.remove(place)
    }

    /// Puts back a candidate that was used since it was ranked.
    fn put_back(&mut self, since: u64, room_id: Arc<str>) {
        if since <= self.at {
            let place = self.rooms.partition_point(|(last_used, _)| *last_used <= since);
            self.rooms.insert(place, (since, room_id));
        }
    }
}

pub(super) fn key(room_id: &str) -> String {
    format!("{LAST_USED_PREFIX}{room_id}")
}

fn use_record(room_id: &str, time: u64) -> (String, Option<Bytes>) {
    (key(room_id), Some(Bytes::copy_from_slice(&time.to_be_bytes())))
}

fn time(mut record: &[u8]) -> Option<u64> {
    record.try_get_u64().ok()
}
