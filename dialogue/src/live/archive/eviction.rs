//! Eviction from the store at the bound on rooms: the least recently used rooms that weren't created explicitly are
//! removed.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::{
    Archive,
    candidates::EvictionCandidates,
    last_use::{LAST_USED_PREFIX, key, time, use_record},
};
use crate::{
    cluster::RoomNotice,
    collections::HashMap,
    live::{clock::unix_ms, room_spec::RoomInstanceInfo},
    store::StoreError,
};

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

/// Rooms checked in one eviction, and rooms evicted by it at most.
const MAX_SCANNED_ROOMS: usize = 256;
const MAX_EVICTED_ROOMS: usize = 16;
/// The fraction of all rooms that is evicted at a time, as its divisor: a new room needs one place, but a full scan
/// should serve more than that.
const EVICTION_DIVISOR: usize = 128;
/// Candidates remembered of a full scan.
const MAX_CANDIDATES: usize = 1_024;
/// Records per page of a full scan.
const SCAN_PAGE_RECORDS: usize = 1_000;

impl Archive {
    /// Notes that a room is used now.
    pub(in crate::live) fn note_used(&self, room_id: &Arc<str>) {
        self.eviction.last_use.note(room_id);
    }

    /// Notes that a room left memory, and is thereby unused at this node.
    pub(in crate::live) fn note_unloaded(&self, room_id: &Arc<str>, info: &RoomInstanceInfo) {
        self.note_used(room_id);
        if !info.is_permanent() {
            self.eviction.scans.note(room_id);
        }
    }

    /// Writes the noted times; those that can't be written are tried again in the next round.
    pub(in crate::live) async fn save_last_used(&self) {
        let times = self.eviction.last_use.next_unsaved();
        if times.is_empty() {
            return;
        }
        let records = times.iter().map(|(room_id, time)| use_record(room_id, *time)).collect();
        if let Err(error) = self.journal.put(records).await {
            return tracing::debug!(%error, "the times at which rooms were used can't be written");
        }
        self.eviction.last_use.saved(times);
    }

    /// Returns the record that notes that a room is used now.
    pub(super) fn used_now(&self, room_id: &str) -> (String, Option<Bytes>) {
        use_record(room_id, self.eviction.last_use.next_time())
    }

    /// Drops the noted time of a removed room.
    pub(super) fn forget_use(&self, room_id: &str) {
        self.eviction.last_use.forget(room_id);
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
        let unsaved = self.eviction.last_use.unsaved(room_id).unwrap_or(0);
        Ok(written.max(unsaved).max(head.map_or(0, |head| head.last.timestamp)))
    }

    /// Scans all rooms that aren't in memory, and remembers the least recently used ones.
    async fn full_scan(&self, is_live: &impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let at = unix_ms();
        let mut last_used = HashMap::default();
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
        self.eviction.last_use.add_unsaved_to(&mut last_used);
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
}
