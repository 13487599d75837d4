//! The end of a room instance: deleted, superseded, idle, or failed.

use std::sync::Arc;

use super::{
    ConnectionHandle, Lifecycle, OutboxCloseReason, RoomCore, RoomEffect, members::EventSink,
    presence_tracker::PresenceTracker,
};
use crate::{collections::HashMap, live::RoomInstanceInfo};

impl RoomCore {
    /// Closes the instance as deleted: removes all its connections, sends them `left`, and returns them.
    pub(in crate::live) fn close_deleted(&mut self, reason: &str) -> Vec<Arc<ConnectionHandle>> {
        self.close(Lifecycle::Deleted);
        self.refuse_all_held();
        let (mut removed, mut listeners) = (Vec::new(), Vec::new());
        for subscription in self.members.drain() {
            match subscription.sink {
                EventSink::Member(_, handle) => {
                    self.count_member(RoomEffect::MemberLeft, &handle);
                    removed.push(handle);
                }
                EventSink::Listener(listener) => listeners.push(listener),
            }
        }
        // Members that are migrating into this instance lose their membership too.
        for handle in std::mem::take(&mut self.migrating).into_values() {
            if self.end_migration(&handle) {
                removed.push(handle);
            }
        }
        self.update_size();
        self.effects.push(RoomEffect::SendLeft { handles: removed.clone(), reason: reason.into() });
        self.effects.push(RoomEffect::Deleted { listeners });
        removed
    }

    /// Closes the instance; one that is deleted stays so.
    pub(super) fn close(&mut self, closed: Lifecycle) {
        if !self.is_deleted() {
            self.lifecycle = closed;
        }
    }

    /// Returns whether the instance is closed: deleted or superseded.
    pub(in crate::live) fn is_closed(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Deleted | Lifecycle::Superseded)
    }

    /// Returns whether the room was deleted.
    pub(in crate::live) fn is_deleted(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Deleted)
    }

    /// Returns whether the room was made again since it was deleted: it was created, written to or joined.
    pub(super) fn was_made_again(&self, info: &RoomInstanceInfo) -> bool {
        info.created || self.log.head().seq > 0 || self.saved_state.version > 0 || self.members.size() > 0
    }

    /// Notes that the record of recent deletions names the room, although it wasn't deleted.
    pub(in crate::live) fn mark_noted_as_deleted(&mut self) {
        self.follows_deletion = true;
    }

    /// Returns whether the instance may leave memory: it has no subscription, and nothing pending. Its log may be lost
    /// by that, where there is no store.
    pub(in crate::live) fn is_idle(&self) -> bool {
        self.members.is_empty()
            && self.migrating.is_empty()
            && self.pending.is_none()
            && !self.is_uncertain()
            && self.presence.as_ref().is_none_or(PresenceTracker::is_quiet)
    }

    /// Returns whether the instance is to be closed: it was deleted or superseded, or it is a keyed room with no
    /// member, event or saved state, that is not in use: neither created explicitly, nor about to be joined.
    pub(in crate::live) fn should_close(&self, is_in_use: bool) -> bool {
        let kept =
            is_in_use || !self.room.keyed || self.saved_state.version > 0 || !self.migrating.is_empty();
        self.is_closed() || (!kept && self.members.is_empty() && self.log.head().seq == 0)
    }

    /// Returns whether closing the instance loses its log, so that the next instance needs a new epoch.
    pub(in crate::live) fn loses_log(&self) -> bool {
        !self.is_stored && (self.is_deleted() || self.log.head().seq > 0)
    }

    /// Closes the instance after a panic or at the end of the runtime: its connections are closed, and reconnect to a
    /// new instance.
    pub(in crate::live) fn fail_connections(&mut self) {
        self.close(Lifecycle::Superseded);
        self.refuse_all_held();
        self.migrating = HashMap::default();
        for subscription in self.members.drain() {
            if let EventSink::Member(outbox, handle) = subscription.sink {
                self.count_member(RoomEffect::MemberLeft, &handle);
                outbox.close(OutboxCloseReason::Disconnected);
            }
        }
        self.update_size();
    }
}
