//! Making space at the bound on rooms: instances leave memory, and rooms the store.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::OnceCell;

use super::{Registry, live_rooms::LiveRooms};
use crate::{
    live::{
        Archive, LiveRoom,
        archive::EvictionOutcome,
        quota::{OpenerRooms, QuotaSubject},
    },
    store::StoreError,
};

/// The fraction of all instances that is evicted at a time, as its divisor: each eviction may scan all.
const EVICTION_SHARE: usize = 128;
/// Rooms of a client that the store is queried for in one eviction.
const MAX_OWN_QUERIES: usize = 64;

impl Registry {
    /// Evicts the rooms that have been empty longest, several at a time, since each scan reads all. Without a store,
    /// their logs are lost.
    ///
    /// Without a store, rooms that were created explicitly stay, unless an anonymous user created them: a client can be
    /// any number of anonymous users. A client that opened more than its share makes space among its `own` rooms, some
    /// of which are given.
    pub(super) fn evict(&self, instances: &mut LiveRooms, own: Option<&OpenerRooms>) -> Vec<Arc<LiveRoom>> {
        let max = self.max_rooms.div_ceil(EVICTION_SHARE);
        let is_evictable = |one: &&Arc<LiveRoom>| one.room.keyed && one.size() == 0;
        let evicted = match own {
            Some(own) => {
                // An instance that was opened from the store isn't new, and only leaves memory.
                let is_own = |one: &&Arc<LiveRoom>| match one.quota_entry.get() {
                    Some(new_room) => new_room.counts_for(&own.subject),
                    None => self.archive().is_some(),
                };
                let empty = own.rooms.iter().filter_map(|(_, room_id)| instances.get(room_id));
                close_longest_empty(empty.filter(|one| is_own(one) && is_evictable(one)), max)
            }
            None if self.context.scans.is_on() => {
                let noted = std::iter::from_fn(|| self.context.scans.next());
                let empty = noted.filter_map(|room_id| instances.get(&room_id)).filter(is_evictable);
                empty.filter(|one| one.close_if_idle()).take(max).cloned().collect()
            }
            None => {
                let scan = self.context.scans.begin();
                let evicted = close_longest_empty(instances.iter().filter(is_evictable), max);
                if evicted.len() == max {
                    scan.found_enough();
                }
                evicted
            }
        };
        if !evicted.is_empty() && self.archive().is_none() {
            self.context.epoch.renew_in_memory();
        }
        for one in &evicted {
            instances.remove(one);
            match self.archive() {
                Some(archive) => archive.note_unloaded(&one.id, &one.info()),
                None => one
                    .quota_entry
                    .get()
                    .into_iter()
                    .for_each(|new_room| self.new_room_quota.remove(new_room)),
            }
        }
        evicted
    }

    /// Evicts the instances that have been empty longest from memory, where the store has them, or some of a client's
    /// own. Returns their ids.
    fn unload_idle(&self, own: Option<&OpenerRooms>) -> Vec<Arc<str>> {
        let evicted = self.evict(&mut self.instances.write(), own);
        evicted.into_iter().map(|one| Arc::clone(&one.id)).collect()
    }

    /// Evicts rooms from the store: the least recently used ones, or those of a client, `own`.
    pub(super) async fn evict_stored(
        self: &Arc<Self>,
        archive: &Archive,
        own: Option<&QuotaSubject>,
    ) -> Result<(), StoreError> {
        let is_live = |room_id: &str| self.find(room_id).is_some();
        let renewed = OnceCell::new();
        let renew_epoch = || async {
            let is_first = !renewed.initialized();
            renewed.get_or_try_init(|| self.context.epoch.renew()).await.map(|()| is_first)
        };
        let evicted = match own {
            Some(own) => self.evict_own(own.clone(), archive, &is_live, &renew_epoch).await?,
            None => {
                let mut evicted = archive.evict(self.max_rooms, is_live, renew_epoch).await?;
                if evicted.is_empty() && !self.unload_idle(None).is_empty() {
                    evicted = archive.evict(self.max_rooms, is_live, renew_epoch).await?;
                }
                evicted
            }
        };
        for room_id in evicted {
            self.new_room_quota.withdraw(&room_id);
            if let Ok((room, _)) = self.declared(&room_id) {
                self.room_evicted(room, &room_id);
            }
        }
        Ok(())
    }

    /// Evicts one of the rooms of a client.
    async fn evict_own<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        own: QuotaSubject,
        archive: &Archive,
        is_live: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let mut own = self.new_room_quota.rooms_of(own);
        let unloaded = self.unload_idle(Some(&own));
        let may_query_store = self.new_room_quota.may_query_store(&own.subject);
        let mut queried = 0;
        for (number, room_id) in own.rooms {
            if !may_query_store && !unloaded.contains(&room_id) {
                continue;
            }
            if is_live(&room_id) {
                // This check doesn't read the store.
                continue;
            }
            queried += 1;
            match archive.evict_if_unused(&room_id, is_live, renew_epoch).await? {
                EvictionOutcome::Evicted => {
                    self.new_room_quota.reset_scan_cursor(&own.subject);
                    return Ok(vec![room_id]);
                }
                EvictionOutcome::Kept => self.new_room_quota.withdraw(&room_id),
                EvictionOutcome::InUse => {}
            }
            if queried == MAX_OWN_QUERIES {
                own.last = number;
                break;
            }
        }
        if may_query_store {
            self.new_room_quota.defer_query(&own.subject, own.last);
        }
        Ok(Vec::new())
    }
}

/// Closes at most `max` of some instances, those that have been empty longest; returns them.
fn close_longest_empty<'a>(
    instances: impl Iterator<Item = &'a Arc<LiveRoom>>,
    max: usize,
) -> Vec<Arc<LiveRoom>> {
    let mut empty: Vec<_> = instances.cloned().collect();
    empty.sort_by_cached_key(|one| (one.emptied_at_us.load(Ordering::Relaxed), Arc::clone(&one.id)));
    empty.into_iter().filter(|one| one.close_if_idle()).take(max).collect()
}
