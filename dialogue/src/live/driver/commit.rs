//! Committing the pending batch: the events are appended to the store, acknowledged and delivered.

use std::sync::Arc;

use super::{RoomDriver, probe::check_log_exists, publish::ensure_in_catalog};
use crate::{
    live::{LiveRoom, archive::Archive, room::RoomCore},
    log::NotAppended,
    store::Append,
};

impl RoomDriver {
    /// Commits the pending batch: appends it to the store, if there is one, acknowledges its senders and delivers it to
    /// all subscriptions.
    pub(super) async fn commit_pending(&mut self) {
        let Some(core) = &mut self.core else { return };
        let Some(mut pending) = core.take_pending() else { return self.flush_replies() };
        if core.is_clustered() {
            Box::pin(self.publish(pending)).await;
            self.set_time();
            // Refused senders have queued replies.
            return self.flush_replies();
        }
        if let Some(archive) = self.instance.archive() {
            let stored = match core.take_append(&mut pending) {
                Some(append) => Box::pin(append_to_store(core, &self.instance, archive, append)).await,
                // An append would have shown whether the store still has the log.
                None if pending.repeats() => Box::pin(check_log_exists(core, &self.instance, archive)).await,
                None => Ok(()),
            };
            core.set_time(self.instance.clock.now());
            if stored.is_err() {
                match core.refuse_pending(pending) {
                    Some(rest) => pending = rest,
                    None => return self.flush_replies(),
                }
            }
        }
        let batch = core.commit(pending);
        self.deliver(batch).await;
    }
}

/// Appends to the store, after a record of the room is in its catalog.
async fn append_to_store(
    core: &mut RoomCore,
    instance: &Arc<LiveRoom>,
    archive: &Archive,
    append: Append,
) -> Result<(), ()> {
    // On failure, the append was not begun.
    if !ensure_in_catalog(core, instance, archive).await {
        return Err(());
    }
    archive.journal.append(append).await.map_err(|error| match error {
        NotAppended::Untouched => {}
        NotAppended::Unknown(error) => {
            if error.is_conflict() {
                tracing::warn!(room_id = &*instance.id, %error, "the store has events of a room that another process appended");
            }
            core.mark_uncertain(instance.clock.now());
        }
    })
}
