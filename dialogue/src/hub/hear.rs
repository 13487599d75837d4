//! What other instances tell a room: what they put into it, and who is in it there.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use super::{Instance, inbox::Command, peers::Message, turn::Turn};
use crate::{
    backplane::{FeedEvents, MemberChange},
    wire::Id,
};

impl Instance {
    /// Others put events into it.
    pub(super) fn hear(self: &Arc<Self>, batch: FeedEvents) {
        if self.is_full() {
            // It is all in the log; what isn't is the first to go under pressure.
            return self.catch_up();
        }
        // A retired instance has nobody left to tell.
        let _ = self.push(Command::Hear(Box::new(batch)));
    }

    /// Others have users in it.
    pub(super) fn hear_members(self: &Arc<Self>, peer: Id, changes: Vec<MemberChange>) {
        if self.is_full() {
            return self.catch_up();
        }
        self.cast(move |state| state.change_roster(|roster| roster.change(peer, &changes)));
    }

    /// Others did something to it.
    pub(super) fn hear_message(self: &Arc<Self>, message: &Message) {
        match message {
            // The store says so too, and is asked: what is said of a room may be about one that was before it.
            Message::Deleted => {
                let instance = Arc::downgrade(self);
                self.cast(move |state| {
                    // The store never knew of it.
                    if let (Some(gone), Some(instance)) = (state.end_if_unknown(), instance.upgrade())
                        && let Some(peers) = instance.archive().and_then(|archive| archive.peers.as_ref())
                    {
                        peers.ended(&instance, gone);
                    }
                });
                self.said_deleted.store(true, Ordering::Release);
                self.catch_up();
            }
            Message::Renamed | Message::Saved | Message::Described => self.catch_up(),
            _ => {}
        }
    }

    /// Those are there, and nobody else.
    pub(super) fn peers_are(self: &Arc<Self>, before: &Arc<BTreeSet<Id>>, there: &Arc<BTreeSet<Id>>) {
        let idle = self.inbox.lock();
        let unaffected =
            !idle.running && self.state.lock().as_ref().is_some_and(|state| !state.is_affected(there));
        drop(idle);
        if !unaffected {
            let (before, there) = (Arc::clone(before), Arc::clone(there));
            self.cast(move |state| state.change_roster(|roster| roster.peers_are(&before, &there)));
        }
    }
}

impl Turn {
    /// Takes what others put into the log, and delivers it.
    pub(super) async fn hear(&mut self, told: FeedEvents) {
        let room = &self.instance.room;
        // Until they are written to all readers.
        let _spans = room.traces.delivery_spans(room.name, &told);
        let Some(state) = &mut self.state else { return };
        if state.is_audited() {
            // What was accepted holds a digest of what is before it.
            self.deliver().await;
        }
        let Some(state) = &mut self.state else { return };
        match state.hear(&told) {
            Some(batch) => self.write(batch).await,
            None => {
                self.instance.room.meter.backfilled();
                self.deliver().await;
                self.ask().await;
                let Some(state) = &mut self.state else { return };
                let rest = state.told_only(&told);
                self.write(rest).await;
            }
        }
    }
}
