//! Messages of other nodes about a room, which are queued as commands: events that they published, changes of their
//! members, notices. Where one may have been lost, the room is to catch up with the store.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    LiveRoom,
    command::{RoomChange, StoreOperation},
};
use crate::{
    cluster::{
        RoomNotice, RosterChange,
        backplane::{FeedEvents, MemberChange},
    },
    wire::Id,
};

/// The least delay before a catch-up that couldn't run is tried again; the delay is jittered up to twice that.
const RETRY_DELAY: Duration = Duration::from_millis(500);

impl LiveRoom {
    /// Receives events that another node published.
    pub(in crate::live) fn receive_events(self: &Arc<Self>, batch: FeedEvents) {
        if self.is_inbox_full() {
            // Durable events are in the store's log; ephemeral ones are the first to be dropped under pressure.
            return self.catch_up();
        }
        // A closed instance has no subscriptions.
        let _ = self.push(StoreOperation::Receive(Box::new(batch)));
    }

    /// Receives changes to the members at another node.
    pub(in crate::live) fn receive_members(self: &Arc<Self>, node: Id, changes: Vec<MemberChange>) {
        if self.is_inbox_full() {
            return self.catch_up();
        }
        self.enqueue(RoomChange::Roster(RosterChange::Members { node, changes }));
    }

    /// Receives a notice about the room.
    pub(in crate::live) fn receive_notice(self: &Arc<Self>, notice: RoomNotice) {
        match notice {
            // The catalog is read as well: the message may be about an earlier room with the same id.
            RoomNotice::Deleted => {
                // A closed instance has no members.
                let _ = self.push(StoreOperation::DeletedElsewhere);
                self.deleted_remotely.store(true, Ordering::Release);
                self.catch_up();
            }
            RoomNotice::EpochChanged | RoomNotice::StateSaved | RoomNotice::InfoChanged => self.catch_up(),
        }
    }

    /// Receives the list of nodes; members at all others are removed.
    pub(in crate::live) fn set_nodes(
        self: &Arc<Self>,
        before: &Arc<BTreeSet<Id>>,
        nodes: &Arc<BTreeSet<Id>>,
    ) {
        let idle = self.inbox.lock();
        let unaffected =
            !idle.running && self.core.lock().as_ref().is_some_and(|core| !core.is_roster_affected(nodes));
        drop(idle);
        if !unaffected {
            let (before, listed) = (Arc::clone(before), Arc::clone(nodes));
            self.enqueue(RoomChange::Roster(RosterChange::Nodes { before, listed }));
        }
    }

    /// Requests a catch-up. If one is queued, it is followed by a second one: messages that came in meanwhile are queued
    /// behind the first, and would be applied to what it read, although they are older.
    pub(crate) fn catch_up(self: &Arc<Self>) {
        let count = |requests: u8| Some((requests + 1).min(2));
        // The update can't fail: it always has a result.
        if self.catch_up_requests.fetch_update(Ordering::AcqRel, Ordering::Acquire, count) == Ok(0) {
            let _ = self.push(StoreOperation::CatchUp);
        }
    }

    /// Begins a queued catch-up, and queues the next one if there was another request.
    pub(super) fn begin_catch_up(self: &Arc<Self>) {
        if self.catch_up_requests.swap(0, Ordering::AcqRel) > 1 {
            self.catch_up();
        }
    }

    /// Requests a catch-up after a delay: the store can't be read, or too many rooms catch up at once.
    pub(super) fn catch_up_later(self: &Arc<Self>) {
        let instance = Arc::downgrade(self);
        // The task ends with the instance, or once the store can be read.
        self.spawn(async move {
            loop {
                sleep(RETRY_DELAY.mul_f64(1.0 + fastrand::f64())).await;
                let Some(instance) = instance.upgrade() else { return };
                if instance.archive().is_none_or(|archive| archive.journal.is_up()) {
                    return instance.catch_up();
                }
            }
        });
    }
}
