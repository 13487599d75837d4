//! Opening a room instance: it is loaded from the store, and space is made for a new one, while commands queue in its
//! inbox.

use std::{
    mem,
    sync::{Arc, Weak, atomic::Ordering},
};

use super::Registry;
use crate::{
    Refusal,
    live::{
        Archive, LiveRoom, clock,
        command::RoomCommand,
        driver,
        live_room::RoomOwner,
        room::{RoomCore, RoomStorage, StoredRoom, unavailable},
    },
    store::StoreError,
};

/// Loads an instance from the store, and then runs the queued commands.
pub(super) async fn open(registry: Weak<Registry>, instance: Arc<LiveRoom>) {
    let (Some(archive), Some(registry)) = (instance.archive(), registry.upgrade()) else { return };
    let loaded = load(&registry, archive, &instance).await.unwrap_or_else(|error| {
        if archive.journal.may_log() {
            tracing::error!(room_id = &*instance.id, %error, "a room can't be opened; others may fail, too");
        }
        Err(unavailable(&instance.id))
    });
    match loaded {
        Ok(found) => {
            build_core(archive, &instance, found);
            drop(registry);
            driver::run(instance).await;
        }
        Err(refusal) => fail(&registry, &instance, refusal),
    }
}

/// Reads the room from the store, and makes space for one that the store doesn't have; returns the refusal if that
/// isn't possible.
async fn load(
    registry: &Arc<Registry>,
    archive: &Arc<Archive>,
    instance: &Arc<LiveRoom>,
) -> Result<Result<StoredRoom, Refusal>, StoreError> {
    let mut found = archive.find(&instance.room, &instance.id, clock::unix_ms()).await?;
    if found.log.is_none() {
        // Without a log, its epoch is the store's: that is a new one if the store was emptied.
        registry.context.epoch.read().await?;
    }
    if found.info.is_some() {
        archive.note_used(&instance.id);
    } else if instance.room.keyed && found.log.is_none() {
        if let Err(refusal) = reserve_place(registry, archive, instance).await? {
            return Ok(Err(refusal));
        }
        found.follows_deletion = registry.context.deletions.names(&instance.id).await?;
    }
    Ok(Ok(found))
}

/// Gives the instance the state that was loaded, with which a driver can run.
fn build_core(archive: &Archive, instance: &LiveRoom, found: StoredRoom) {
    if let Some(info) = &found.info {
        instance.set_info(info.clone());
    }
    let (room, id) = (Arc::clone(&instance.room), Arc::clone(&instance.id));
    let storage = match &archive.cluster {
        Some(cluster) => RoomStorage::Cluster { nodes: cluster.counted() },
        None => RoomStorage::Store,
    };
    let (epoch, now) = (instance.context.epoch.current(), instance.clock.now());
    let core = RoomCore::new(instance.instance_id, room, id, storage, epoch, found, now);
    instance.set_head(core.log().head());
    instance.update_size(0, core.remote_size());
    *instance.core.lock() = Some(Box::new(core));
}

/// Makes space for a room that the store doesn't have; returns the refusal if that isn't possible.
async fn reserve_place(
    registry: &Arc<Registry>,
    archive: &Arc<Archive>,
    instance: &Arc<LiveRoom>,
) -> Result<Result<(), Refusal>, StoreError> {
    let is_clients = !instance.used_by_application.load(Ordering::Relaxed);
    let opener = instance.opener.as_ref().filter(|_| is_clients);
    if let Some(opener) = opener {
        match registry.new_room_quota.admit(opener, &instance.id) {
            Ok(new_room) => instance.set_quota_entry(new_room),
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
            archive.total_rooms() >= 2 * registry.max_rooms || archive.permanent_rooms() >= registry.max_rooms
        }
    };
    Ok(if full { Err(registry.too_many()) } else { Ok(()) })
}

/// Closes an instance that can't be opened: its queued commands are refused, and the next request tries again.
fn fail(registry: &Registry, instance: &Arc<LiveRoom>, refusal: Refusal) {
    // Set before any caller can see that the instance is closed.
    let _ = instance.failure.set(refusal.clone());
    let commands = {
        let mut inbox = instance.inbox.lock();
        (inbox.closed, inbox.running) = (true, false);
        mem::take(&mut inbox.commands)
    };
    for command in commands {
        if let RoomCommand::Publish(publish) = command {
            publish.refuse(&instance.room.meter, refusal.clone());
        }
    }
    instance.inbox_space.notify_waiters();
    registry.remove(instance, false);
}
