//! Catch-up: comparing a room with the store after messages of other nodes may have been lost. Its events, its members,
//! its info and its saved state are read again.

use std::sync::atomic::Ordering;

use super::RoomDriver;
use crate::{cluster::RosterChange, store::StoreError};

impl RoomDriver {
    /// Compares the room with the store and the backplane, and adopts the differences.
    pub(super) async fn catch_up(&mut self) {
        self.instance.begin_catch_up();
        if self.core.as_ref().is_none_or(|core| core.is_closed()) {
            return;
        }
        let Some(archive) = self.instance.archive().cloned() else { return };
        let Some(cluster) = archive.cluster.clone() else { return };
        let Some(_permit) = cluster.catch_up_permit().filter(|_| archive.journal.is_up()) else {
            return self.instance.catch_up_later();
        };
        self.instance.room.meter.backfilled();
        self.commit_pending().await;
        self.probe_store().await;
        let Some(core) = self.core.as_mut().filter(|core| !core.is_closed()) else { return };
        let (room, room_id) = (&self.instance.room, &self.instance.id);
        let read = async {
            let known = if room.keyed { archive.known(room_id).await? } else { None };
            let is_deleted =
                known.is_none() && room.keyed && core.is_in_catalog() && self.instance.was_deleted();
            let saved = if room.options.state { archive.state(room_id).await? } else { None };
            let epoch = archive.epoch_override(room_id, core.store_epoch()).await?;
            let members = cluster.members(room_id).await?;
            Ok::<_, StoreError>((known, is_deleted, saved, epoch, members))
        };
        match read.await {
            Ok((_, true, ..)) => self.close_deleted(),
            Ok((known, false, saved, epoch, members)) => {
                match known {
                    Some(info) => {
                        self.instance.deleted_remotely.store(false, Ordering::Release);
                        self.instance.set_info(info);
                        core.mark_in_catalog();
                    }
                    // The store has lost the record, which the next append writes again.
                    None if room.keyed => core.mark_not_in_catalog(),
                    None => {}
                }
                core.reload(saved);
                core.set_epoch(epoch);
                core.change_roster(RosterChange::Replaced { members, listed: cluster.counted() });
            }
            Err(error) => {
                tracing::debug!(room_id = &**room_id, %error, "a room can't catch up with the store");
                self.instance.catch_up_later();
            }
        }
    }
}
