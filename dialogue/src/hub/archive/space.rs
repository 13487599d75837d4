//! Which rooms of the store go to make space: those that were left longest, and that nobody made on purpose.
//!
//! `left/ID` says when a room was last used, as far as no event of it does: 8 bytes of Unix milliseconds. It is written
//! when the room is made known, when its state is saved, and a moment after it comes into memory or leaves it.

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
    hub::{Instance, backoff::ScanBackoff, declared::Info, state::now},
    store::StoreError,
};

/// The times at which rooms were left, and the candidates to make space.
pub(super) struct Space {
    /// Times that aren't written yet.
    unsaved: Mutex<HashMap<Arc<str>, u64>>,
    /// The newest of the times that were given.
    newest: Mutex<u64>,
    /// The rooms that were left longest at the last full scan, those first; a room may have been used since.
    departed: Mutex<Departed>,
    /// The backoff of full scans of the store.
    scans: ScanBackoff,
    /// Set where the last full scan, or a look at a candidate since, failed.
    failed: AtomicBool,
    /// The right to make space, which one has at a time.
    making: Semaphore,
}

/// The outcome for a room that is to make space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Outcome {
    Gone,
    /// The store has none, or somebody made it on purpose: it makes no space later either.
    Stays,
    /// Somebody is in it.
    Used,
}

/// The candidates that a go leaves, of those that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidates {
    Left,
    Exhausted,
}

#[derive(Default)]
struct Departed {
    rooms: VecDeque<(u64, Arc<str>)>,
    /// The time of the scan. A room that was used later may have been left earlier than others that aren't among these.
    at: u64,
}

const LEFT: &str = "left/";
/// Rooms that are looked at for space in one go, and those that go at most.
const SPACE_LOOKS: usize = 256;
const GO: usize = 16;
/// Of all rooms, one of so many goes at a time: a newcomer needs one place, and a full scan is not to be for that
/// alone.
const FORGOTTEN_SHARE: usize = 128;
/// Rooms that are remembered of a full scan.
const REMEMBERED: usize = 1_024;
/// Times that are written in one go.
const SAVED: usize = 1_000;
/// Records of a page of a full scan.
const PAGE: usize = 1_000;

impl Default for Space {
    fn default() -> Self {
        Space {
            unsaved: Mutex::default(),
            newest: Mutex::default(),
            departed: Mutex::default(),
            scans: ScanBackoff::default(),
            failed: AtomicBool::new(false),
            making: Semaphore::new(1),
        }
    }
}

impl Archive {
    /// Notes that a room is used now, and is not in use by the time that it is asked for.
    pub(in crate::hub) fn note_left(&self, room_id: &Arc<str>) {
        let time = self.left_now();
        self.space.unsaved.lock().insert(Arc::clone(room_id), time);
    }

    /// Notes that a room left memory: nobody is in it here.
    pub(in crate::hub) fn note_unloaded(&self, instance: &Instance) {
        self.note_left(&instance.id);
        if !instance.info().is_kept() {
            self.space.scans.note(&instance.id);
        }
    }

    /// Writes the times that were noted; those that can't be written are tried again.
    pub(in crate::hub) async fn save_left(&self) {
        let some: Vec<_> = {
            let unsaved = self.space.unsaved.lock();
            unsaved.iter().take(SAVED).map(|(room_id, time)| (Arc::clone(room_id), *time)).collect()
        };
        if some.is_empty() {
            return;
        }
        let records = some.iter().map(|(room_id, time)| left_record(room_id, *time)).collect();
        if let Err(error) = self.journal.put(records).await {
            return tracing::debug!(%error, "when rooms were left can't be written");
        }
        let mut unsaved = self.space.unsaved.lock();
        for (room_id, time) in some {
            if unsaved.get(&room_id) == Some(&time) {
                unsaved.remove(&room_id);
            }
        }
    }

    /// The record that says that a room is used now.
    pub(super) fn used_now(&self, room_id: &str) -> (String, Option<Bytes>) {
        left_record(room_id, self.left_now())
    }

    /// Drops the time of a room that is gone.
    pub(super) fn unnote_left(&self, room_id: &str) {
        self.space.unsaved.lock().remove(room_id);
    }

    /// Forgets some rooms that nobody made on purpose and that are used nowhere, those that were left longest; returns
    /// which. Waits for `renew_epoch` before one goes, which says whether it was renewed just now.
    ///
    /// For a second after a full scan that found none, only those that it left as candidates, or that left memory since,
    /// are looked at.
    ///
    /// # Errors
    ///
    /// The store can't be read or written, and none went.
    pub(in crate::hub) async fn make_space<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        most: usize,
        is_here: impl Fn(&str) -> bool,
        renew_epoch: impl Fn() -> F,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let Ok(_turn) = self.space.making.acquire().await else { return Ok(Vec::new()) };
        if self.total() < most {
            // Somebody else made some meanwhile.
            return Ok(Vec::new());
        }
        let at_once = most.div_ceil(FORGOTTEN_SHARE).min(GO);
        let mut gone = Vec::new();
        let made = self.make_space_of_candidates(&mut gone, at_once, &is_here, &renew_epoch).await;
        if made.is_err() {
            self.space.failed.store(true, Ordering::Relaxed);
        }
        // Rooms that went before the error are returned, since they are still to be announced.
        if gone.is_empty() { made.map(|()| gone) } else { Ok(gone) }
    }

    /// Looks at the rooms that are remembered, at those that left memory since, and scans all if need be.
    async fn make_space_of_candidates<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        gone: &mut Vec<Arc<str>>,
        at_once: usize,
        is_here: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<(), StoreError> {
        let candidates = self.make_space_of_departed(gone, at_once, is_here, renew_epoch).await?;
        if self.space.scans.is_on() {
            self.make_space_of_noted(gone, at_once, is_here, renew_epoch).await?;
            if candidates == Candidates::Exhausted && self.space.failed.load(Ordering::Relaxed) {
                return Err(StoreError::new("the rooms of the store could not be looked at a moment ago"));
            }
        } else if candidates == Candidates::Exhausted {
            let scan = self.space.scans.begin();
            self.full_scan(is_here).await?;
            self.space.failed.store(false, Ordering::Relaxed);
            let candidates = self.make_space_of_departed(gone, at_once, is_here, renew_epoch).await?;
            if candidates == Candidates::Left && !gone.is_empty() {
                scan.found_enough();
            }
        }
        Ok(())
    }

    /// Looks at the rooms that left memory since the last full scan.
    async fn make_space_of_noted<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        gone: &mut Vec<Arc<str>>,
        at_once: usize,
        is_here: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<(), StoreError> {
        for _ in 0..SPACE_LOOKS {
            if gone.len() == at_once {
                break;
            }
            let Some(room_id) = self.space.scans.next() else { break };
            if self.forget_unused(&room_id, is_here, renew_epoch).await? == Outcome::Gone {
                gone.push(room_id);
            }
        }
        Ok(())
    }

    /// Looks at the rooms that were left longest, as far as they are remembered.
    async fn make_space_of_departed<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        gone: &mut Vec<Arc<str>>,
        at_once: usize,
        is_here: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<Candidates, StoreError> {
        let mut looks = 0;
        while looks < SPACE_LOOKS && gone.len() < at_once {
            let is_last = looks + 1 == SPACE_LOOKS;
            let next = self.space.departed.lock().next(is_last && gone.is_empty());
            let Some((left, room_id)) = next else { return Ok(Candidates::Exhausted) };
            if is_here(&room_id) {
                // It costs the store nothing.
                continue;
            }
            looks += 1;
            let since = self.left_at(&room_id).await?;
            if since > left && !is_last {
                self.space.departed.lock().put_back(since, room_id);
            } else if self.forget_unused(&room_id, is_here, renew_epoch).await? == Outcome::Gone {
                gone.push(room_id);
            }
        }
        Ok(Candidates::Left)
    }

    /// Forgets a room unless somebody made it on purpose, or is in it at this or another instance.
    pub(in crate::hub) async fn forget_unused<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        room_id: &Arc<str>,
        is_here: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<Outcome, StoreError> {
        let mut unused = self.unused(room_id, is_here).await?;
        // Before its log goes: one that is made in its place is another. That takes a while, in which it may be used.
        if unused.is_ok() && renew_epoch().await? {
            unused = self.unused(room_id, is_here).await?;
        }
        let info = match unused {
            // It may have been opened meanwhile.
            Ok(_) if is_here(room_id) => return Ok(Outcome::Used),
            Ok(info) => info,
            Err(outcome) => return Ok(outcome),
        };
        self.forget(room_id, &info, true).await?;
        if let Some(peers) = &self.peers {
            // Where it is in memory still, it ends.
            peers.tell_if_possible(room_id, crate::hub::peers::Message::Deleted);
        }
        Ok(Outcome::Gone)
    }

    /// The record of a room that may go; or the reason why it may not.
    async fn unused(
        &self,
        room_id: &Arc<str>,
        is_here: &impl Fn(&str) -> bool,
    ) -> Result<Result<Info, Outcome>, StoreError> {
        if is_here(room_id) {
            return Ok(Err(Outcome::Used));
        }
        let Some(info) = self.known(room_id).await?.filter(|info| !info.is_kept()) else {
            return Ok(Err(Outcome::Stays));
        };
        if let Some(peers) = &self.peers
            && peers.size(room_id).await? > 0
        {
            return Ok(Err(Outcome::Used));
        }
        Ok(Ok(info))
    }

    /// The time at which a room was last used.
    async fn left_at(&self, room_id: &Arc<str>) -> Result<u64, StoreError> {
        let (record, head) =
            tokio::try_join!(async { self.journal.get(&key(room_id)).await }, self.journal.head(room_id))?;
        let written = record.as_deref().and_then(time).unwrap_or(0);
        let unsaved = self.space.unsaved.lock().get(room_id).copied().unwrap_or(0);
        Ok(written.max(unsaved).max(head.map_or(0, |head| head.last.timestamp)))
    }

    /// Scans all rooms that aren't in memory, and remembers those that were left longest.
    async fn full_scan(&self, is_here: &impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let at = now();
        let mut left = HashMap::new();
        let mut last: Option<String> = None;
        loop {
            let page = self.journal.scan(LEFT, last.as_deref(), PAGE).await?;
            let Some((end, _)) = page.last() else { break };
            last = Some(end.clone());
            let times = page.iter().filter_map(|(key, value)| Some((key.strip_prefix(LEFT)?, time(value)?)));
            left.extend(times.map(|(room_id, time)| (Arc::<str>::from(room_id), time)));
        }
        left.extend(self.space.unsaved.lock().iter().map(|(room_id, time)| (Arc::clone(room_id), *time)));
        let (mut rooms, mut last) = (Vec::new(), None::<Arc<str>>);
        loop {
            let (page, next) = self.rooms(last.as_deref(), PAGE).await?;
            // Those in memory are noted when they leave it; until then they would take the places of others.
            let free = page.into_iter().filter(|(room_id, info)| !info.is_kept() && !is_here(room_id));
            rooms.extend(free.map(|(room_id, _)| (left.get(&room_id).copied().unwrap_or(0), room_id)));
            match next {
                Some(next) => last = Some(next),
                None => break,
            }
        }
        rooms.sort_unstable();
        let rooms = self.unused_first(rooms).await?;
        *self.space.departed.lock() = Departed { rooms: rooms.into(), at };
        Ok(())
    }

    /// The first of some rooms, those that seem to be used at other instances last: what is used for long was left longest,
    /// too, and would take the places of others.
    async fn unused_first(
        &self,
        mut rooms: Vec<(u64, Arc<str>)>,
    ) -> Result<Vec<(u64, Arc<str>)>, StoreError> {
        let Some(peers) = &self.peers else {
            rooms.truncate(REMEMBERED);
            return Ok(rooms);
        };
        let (mut unused, mut used) = (Vec::new(), Vec::new());
        for asked in rooms.chunks(SPACE_LOOKS) {
            let room_ids: Vec<_> = asked.iter().map(|(_, room_id)| Arc::clone(room_id)).collect();
            let sizes = peers.sizes(&room_ids).await?;
            for (room, size) in asked.iter().zip(sizes) {
                let rooms = if size == 0 { &mut unused } else { &mut used };
                rooms.push(room.clone());
            }
            if unused.len() >= SPACE_LOOKS {
                break;
            }
        }
        unused.append(&mut used);
        unused.truncate(REMEMBERED);
        Ok(unused)
    }

    /// A time that is later than all that were given: two rooms that were left in one millisecond have an order, too.
    fn left_now(&self) -> u64 {
        let mut newest = self.space.newest.lock();
        *newest = now().max(*newest + 1);
        *newest
    }
}

impl Departed {
    /// The room that was left longest; of those whose time is known for sure, if that is `sure`.
    fn next(&mut self, sure: bool) -> Option<(u64, Arc<str>)> {
        let place = if sure { self.rooms.iter().position(|(left, _)| *left > 0).unwrap_or(0) } else { 0 };
        self.rooms.remove(place)
    }

    /// Gives back a room that was used since.
    fn put_back(&mut self, since: u64, room_id: Arc<str>) {
        if since <= self.at {
            let place = self.rooms.partition_point(|(left, _)| *left <= since);
            self.rooms.insert(place, (since, room_id));
        }
    }
}

pub(super) fn key(room_id: &str) -> String {
    format!("{LEFT}{room_id}")
}

fn left_record(room_id: &str, time: u64) -> (String, Option<Bytes>) {
    (key(room_id), Some(Bytes::copy_from_slice(&time.to_be_bytes())))
}

fn time(mut record: &[u8]) -> Option<u64> {
    record.try_get_u64().ok()
}
