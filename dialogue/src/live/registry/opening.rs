//! Opening a room instance: it is loaded from the store, and space is made for a new one, while commands queue in its
//! inbox.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::OnceCell;

use crate::{
    Refusal,
    live::{
        Archive, LiveRoom, Registry,
        archive::EvictionOutcome,
        clock,
        command::RoomCommand,
        driver::RoomDriver,
        quota::QuotaSubject,
        room::{RoomCore, RoomStorage, unavailable},
    },
    store::StoreError,
};

/// Rooms of a client that the store is queried for in one eviction.
const MAX_OWN_QUERIES: usize = 64;

impl LiveRoom {
    /// Loads the instance from the store, and then runs the queued commands.
    pub(in crate::live) async fn open(self: Arc<Self>) {
        let (Some(archive), Some(registry)) = (self.archive(), self.registry.upgrade()) else { return };
        let opened = async {
            let found = archive.find(&self.room, &self.id, clock::unix_ms()).await?;
            if found.log.is_none() {
                // Without a log, its epoch is the store's: that is a new one if the store was emptied.
                registry.read_epoch().await?;
            }
            if found.info.is_some() {
                archive.note_used(&self.id);
            } else if self.room.keyed && found.log.is_none() {
                if let Err(refusal) = self.reserve_place(&registry, archive).await? {
                    return Ok(Err(refusal));
                }
                archive.withdraw_deletion(&self.id).await?;
            }
            Ok(Ok(found))
        };
        let opened = opened.await.unwrap_or_else(|error: StoreError| {
            if archive.journal.may_log() {
                tracing::error!(room_id = &*self.id, %error, "a room can't be opened; others may fail, too");
            }
            Err(unavailable(&self.id))
        });
        match opened {
            Ok(found) => {
                if let Some(info) = &found.info {
                    self.set_info(info.clone());
                }
                let (room, id) = (Arc::clone(&self.room), Arc::clone(&self.id));
                let storage = match &archive.cluster {
                    Some(cluster) => RoomStorage::Cluster { nodes: cluster.counted() },
                    None => RoomStorage::Store,
                };
                let core = RoomCore::new(
                    self.instance_id,
                    room,
                    id,
                    storage,
                    registry.epoch(),
                    found,
                    self.clock.now(),
                );
                self.set_head(core.log().head());
                self.update_size(0, core.remote_size());
                *self.core.lock() = Some(Box::new(core));
                drop(registry);
                RoomDriver::run(self).await;
            }
            Err(refusal) => self.fail(&registry, refusal),
        }
    }

    /// Makes space for a room that the store doesn't have; returns the refusal if that isn't possible.
    async fn reserve_place(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        archive: &Arc<Archive>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let opener = self.opener.as_ref().filter(|_| !self.used_by_application.load(Ordering::Relaxed));
        if let Some(opener) = opener {
            match registry.new_room_quota.admit(opener, &self.id) {
                Ok(new_room) => self.set_quota_entry(new_room),
                Err(exceeded) => return Ok(Err(registry.new_room_quota.refuse(exceeded))),
            }
            // Rooms that only the store has don't count for this bound.
            if registry.is_full() {
                return Ok(Err(registry.too_many()));
            }
        }
        if archive.total_rooms() < registry.max_rooms {
            return Ok(Ok(()));
        }
        if archive.cluster.is_some() {
            archive.recount().await?;
        }
        if archive.total_rooms() >= registry.max_rooms {
            let own = opener.and_then(|opener| registry.new_room_quota.over_share(opener));
            registry.evict_stored(archive, own.as_ref()).await?;
        }
        let full = match opener {
            Some(_) => archive.total_rooms() >= registry.max_rooms,
            // Rooms that clients hold don't count against the application.
            None => {
                archive.total_rooms() >= 2 * registry.max_rooms
                    || archive.permanent_rooms() >= registry.max_rooms
            }
        };
        Ok(if full { Err(registry.too_many()) } else { Ok(()) })
    }

    /// Closes an instance that can't be opened: its queued commands are refused, and the next request tries again.
    fn fail(self: &Arc<Self>, registry: &Registry, refusal: Refusal) {
        // Set before any caller can see that the instance is closed.
        let _ = self.failure.set(refusal.clone());
        let commands = {
            let mut inbox = self.inbox.lock();
            (inbox.closed, inbox.running) = (true, false);
            std::mem::take(&mut inbox.commands)
        };
        for command in commands {
            if let RoomCommand::Publish(publish) = command {
                publish.refuse(&self.room.meter, refusal.clone());
            }
        }
        self.inbox_space.notify_waiters();
        registry.remove(self, false);
    }
}

impl Registry {
    /// Evicts rooms from the store: the least recently used ones, or those of a client, `own`.
    async fn evict_stored(
        self: &Arc<Self>,
        archive: &Archive,
        own: Option<&QuotaSubject>,
    ) -> Result<(), StoreError> {
        let is_live = |room_id: &str| self.find(room_id).is_some();
        let renewed = OnceCell::new();
        let renew_epoch = || async {
            let is_first = !renewed.initialized();
            renewed.get_or_try_init(|| self.renew_epoch()).await.map(|()| is_first)
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
