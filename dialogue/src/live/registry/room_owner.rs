//! The registry as the owner of its live rooms.

use std::sync::{Arc, Weak};

use super::Registry;
use crate::live::{ConnectionHandle, LiveRoom, live_room::RoomOwner, migration, room::Migration};

impl RoomOwner for Registry {
    fn remove(&self, instance: &Arc<LiveRoom>, lost: bool) {
        let mut instances = self.instances.write();
        if lost {
            self.context.epoch.renew_in_memory();
        }
        instances.remove(instance);
        drop(instances);
        match instance.quota_entry.get() {
            Some(new_room) if instance.left_no_trace() => self.new_room_quota.release(new_room),
            Some(new_room) if instance.is_deleted() || self.archive().is_none() => {
                self.new_room_quota.remove(new_room)
            }
            None if instance.is_deleted() => self.new_room_quota.withdraw(&instance.id),
            _ => {}
        }
    }

    fn deleted_elsewhere(&self, instance: &Arc<LiveRoom>, members: Vec<Arc<ConnectionHandle>>) {
        let Some(observer) = self.observer.get().and_then(Weak::upgrade) else { return };
        let instance = Arc::clone(instance);
        // The task ends with the application's hooks.
        self.context.runtime.spawn(async move {
            for handle in members {
                Arc::clone(&observer).removed_from_closed(handle, Arc::clone(&instance)).await;
            }
        });
    }

    fn migrate(self: Arc<Self>, superseded: &Arc<LiveRoom>, migration: Migration) {
        let task = migration::run(Arc::clone(superseded), Arc::downgrade(&self), migration);
        self.context.runtime.spawn(task);
    }
}
