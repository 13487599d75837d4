//! Messages of other nodes about a room: the events that they published, and their members.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use super::RoomDriver;
use crate::{
    cluster::{
        RoomNotice, RosterChange,
        backplane::{FeedEvents, MemberChange},
    },
    live::{
        LiveRoom,
        command::{RoomChange, StoreOperation},
    },
    wire::Id,
};

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
}

impl RoomDriver {
    /// Adds events of other nodes to the log, and delivers them.
    pub(super) async fn receive_events(&mut self, events: FeedEvents) {
        let room = &self.instance.room;
        // The spans last until the events are written to all recipients.
        let _spans = room.traces.delivery_spans(room.name, &events);
        let Some(core) = &mut self.core else { return };
        if core.is_audited() {
            // Pending events have the digest of the event before them.
            self.commit_pending().await;
        }
        let Some(core) = &mut self.core else { return };
        match core.receive_events(&events) {
            Some(batch) => self.deliver(batch).await,
            None => {
                self.instance.room.meter.backfilled();
                self.commit_pending().await;
                self.probe_store().await;
                let Some(core) = &mut self.core else { return };
                let rest = core.unlogged_events(&events);
                self.deliver(rest).await;
            }
        }
    }
}
