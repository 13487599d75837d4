//! The execution of [`StoreOperation`]s.

use std::sync::Arc;

use super::RoomDriver;
use crate::{
    Refusal,
    cluster::RoomNotice,
    live::{
        ConnectionHandle, RoomInstanceInfo, SavedState,
        command::{StateChange, StoreOperation},
        room::unavailable,
    },
    store::StoreError,
};

impl RoomDriver {
    /// Runs a command that needs the store, carries out its effects, and replies.
    pub(super) async fn operate(&mut self, operation: StoreOperation) {
        // Events that were accepted before are in the log first. A receipt and a catch-up see to that where they need
        // it.
        if !matches!(operation, StoreOperation::Receive(_) | StoreOperation::CatchUp) {
            self.commit_pending().await;
        }
        match operation {
            StoreOperation::Create(info, reply) => {
                let created = self.create(info).await;
                self.answer(reply, created);
            }
            StoreOperation::SaveState(change, reply) => {
                let saved = self.save_state(change).await;
                self.answer(reply, saved);
            }
            StoreOperation::Delete(reason, reply) => {
                let deleted = self.delete(reason).await;
                self.answer(reply, deleted);
            }
            StoreOperation::Receive(events) => self.receive_events(*events).await,
            StoreOperation::DeletedElsewhere => {
                if self.core.as_ref().is_some_and(|core| core.is_unlisted()) {
                    self.close_deleted();
                }
            }
            StoreOperation::CatchUp => self.catch_up().await,
            StoreOperation::Probe(reply) => {
                self.probe_once().await;
                self.answer(reply, ());
            }
        }
        self.carry_out();
        self.flush_replies();
        self.set_time();
    }

    /// See [`LiveRoom::create`](crate::live::LiveRoom::create).
    async fn create(&mut self, info: RoomInstanceInfo) -> Result<bool, StoreError> {
        let (Some(core), Some(archive)) = (&mut self.core, self.instance.archive()) else { return Ok(false) };
        if core.exists() || core.is_closed() {
            return Ok(false);
        }
        let is_new = archive.add_room(&self.instance.id, &info).await?;
        if is_new {
            self.instance.set_info(info);
            core.notify_nodes(RoomNotice::InfoChanged);
        } else {
            self.instance.catch_up();
        }
        core.mark_in_catalog();
        Ok(is_new)
    }

    /// Changes the room's saved state, in the store first.
    ///
    /// # Errors
    ///
    /// The refusal of the change, or `UNAVAILABLE` if the store can't be written; the state is then unchanged.
    async fn save_state(&mut self, change: StateChange) -> Result<(), Refusal> {
        let StateChange { lock, change } = change;
        let room_id = &self.instance.id;
        let Some(core) = self.core.as_mut().filter(|core| !core.is_closed()) else {
            return Err(unavailable(room_id));
        };
        let failed = |_| unavailable(room_id);
        if let (Some(_), Some(archive)) = (&lock, self.instance.archive()) {
            // Other nodes may have changed it since.
            core.set_saved_state(archive.state(room_id).await.map_err(failed)?.unwrap_or_default());
        }
        let before = core.saved_state();
        let saved = SavedState { version: before.version + 1, json: change(&before)?.into() };
        if let Some(archive) = self.instance.archive() {
            if !core.is_in_catalog() {
                archive.add_room(room_id, &self.instance.info()).await.map_err(failed)?;
                core.mark_in_catalog();
            }
            archive.save_state(room_id, &before, &saved).await.map_err(failed)?;
        }
        core.set_saved_state(saved);
        if lock.is_some() {
            core.notify_nodes(RoomNotice::StateSaved);
        }
        Ok(())
    }

    /// See [`LiveRoom::delete`](crate::live::LiveRoom::delete).
    async fn delete(&mut self, reason: &str) -> Result<Option<Vec<Arc<ConnectionHandle>>>, Refusal> {
        let (instance, room_id) = (&self.instance, &self.instance.id);
        let Some(core) = &mut self.core else { return Err(unavailable(room_id)) };
        if core.is_closed() {
            return if core.is_deleted() { Ok(None) } else { Err(unavailable(room_id)) };
        }
        // Noted before the room is removed, so that a client that reconnects at once doesn't create it again.
        if let Err(error) = instance.context.deletions.note(room_id).await {
            tracing::debug!(%room_id, %error, "the deletion of a room can't be recorded");
            // The store may have the note although the call failed.
            core.mark_noted_as_deleted();
            return Err(unavailable(room_id));
        }
        if let Some(archive) = instance.archive() {
            let removing = async {
                // Whatever the epoch of the log: members who joined while it was empty know it by that of new logs.
                instance.context.epoch.renew().await?;
                archive
                    .remove_room(room_id, &instance.info(), core.is_in_catalog() && instance.room.keyed)
                    .await
            };
            if let Err(error) = removing.await {
                if archive.journal.may_log() {
                    tracing::error!(%room_id, %error, "a room can't be deleted");
                }
                // The log may have been removed although the call failed.
                core.mark_uncertain(self.instance.clock.now());
                // The room may still be there: whoever joins it next withdraws the deletion, if that fails here.
                if instance.context.deletions.withdraw(room_id).await.is_err() {
                    core.mark_noted_as_deleted();
                }
                return Err(unavailable(room_id));
            }
        }
        core.notify_nodes(RoomNotice::Deleted);
        Ok(Some(core.close_deleted(reason)))
    }
}
