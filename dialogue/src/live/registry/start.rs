//! Starting a registry: its tasks, and the rooms that exist from the start.

use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::{runtime::Handle, sync::watch};

use super::{Registry, maintenance};
use crate::{
    live::{
        Archive, NewRoomBounds, RoomSpec, command::RoomChange, context::RoomContext, quota::NewRoomQuota,
    },
    store::StoreError,
};

impl Registry {
    /// Creates a registry. `max_rooms` bounds the instances of keyed rooms, `new` those that a client opened recently.
    pub(crate) fn new(
        rooms: Vec<Arc<RoomSpec>>,
        max_rooms: usize,
        new: NewRoomBounds,
        archive: Option<Arc<Archive>>,
        runtime: Handle,
    ) -> Arc<Self> {
        let names = rooms.iter().map(|room| (room.name, room.index)).collect();
        let registry = Arc::new(Registry {
            rooms,
            names,
            instances: RwLock::default(),
            context: RoomContext::new(archive, runtime),
            max_rooms,
            new_room_quota: NewRoomQuota::new(new, max_rooms),
            observer: OnceLock::new(),
            end: watch::Sender::new(()),
        });
        // These tasks end with the registry.
        registry.spawn(maintenance::run(Arc::downgrade(&registry)));
        registry.spawn(maintenance::sweep(Arc::downgrade(&registry)));
        registry
    }

    /// Opens the instances of rooms without a key, which exist from the start.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<(), StoreError> {
        self.context.epoch.read().await?;
        if let Some(archive) = self.archive() {
            archive.count().await?;
        }
        for room in self.rooms.iter().filter(|room| !room.keyed) {
            let opened = self.request(room, room.name, RoomChange::Barrier).await;
            opened.map_err(|refusal| {
                StoreError::new(format!("can't open room `{}`: {}", room.name, refusal.message))
            })?;
        }
        Ok(())
    }
}
