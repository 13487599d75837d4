//! Reports to the server above the registry.

use std::sync::{Arc, Weak};

use super::{Registry, RegistryObserver};
use crate::live::{ConnectionHandle, LiveRoom, RoomSpec};

impl Registry {
    /// Sets the observer of rooms that the registry removes.
    pub(crate) fn set_observer(&self, observer: Weak<dyn RegistryObserver>) {
        let _ = self.observer.set(observer);
    }

    /// Reports a connection that was removed from `instance`, which closed.
    pub(in crate::live) async fn removed_from_closed(
        &self,
        handle: &Arc<ConnectionHandle>,
        instance: &Arc<LiveRoom>,
    ) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            observer.removed_from_closed(Arc::clone(handle), Arc::clone(instance)).await;
        }
    }

    /// See [`RegistryObserver::reclaim_capacity`].
    pub(in crate::live) async fn reclaim_capacity(
        &self,
        handle: &Arc<ConnectionHandle>,
        instance: &Arc<LiveRoom>,
    ) -> bool {
        match self.observer.get().and_then(Weak::upgrade) {
            Some(observer) => observer.reclaim_capacity(Arc::clone(handle), Arc::clone(instance)).await,
            None => false,
        }
    }

    pub(in crate::live) fn room_evicted(&self, room: &Arc<RoomSpec>, room_id: &str) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            observer.room_evicted(room, room_id);
        }
    }
}
