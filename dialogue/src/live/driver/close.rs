//! Closing an instance whose log is gone: the room was deleted at another node, or the store has another log.

use super::RoomDriver;
use crate::live::room::DELETED_REASON;

impl RoomDriver {
    /// Closes the instance of a room that another node deleted.
    pub(super) fn close_deleted(&mut self) {
        let Some(core) = &mut self.core else { return };
        let removed = core.close_deleted(DELETED_REASON);
        // First, so that the instance is closed before anything else learns of the deletion.
        self.carry_out();
        if let Some(owner) = self.instance.owner.upgrade() {
            owner.deleted_elsewhere(&self.instance, removed);
        }
    }

    /// Supersedes the instance: its members migrate to one with the log that the store has.
    pub(super) fn supersede(&mut self, why: &'static str) {
        if let Some(archive) = self.instance.archive()
            && archive.journal.may_log()
        {
            let room_id = &*self.instance.id;
            tracing::error!(
                room_id,
                "{why}: the room goes on with the store's log, and its clients may have lost events; other rooms may do so too"
            );
        }
        if let Some(core) = &mut self.core {
            // Marks the members first: a session that then finds this instance closed sees that they are migrating.
            let moving = core.supersede();
            self.instance.close();
            // The next instance writes to the same members.
            self.flush_replies();
            self.instance.move_on(moving);
        }
    }
}
