//! What other instances put into a room, and what was missed of it.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::{Instance, inbox::Command, peers::Message, state::DELETED, turn::Turn};
use crate::{
    backplane::{Batch, Change},
    store::StoreError,
    wire::Id,
};

/// Before what was missed is looked for again, where it couldn't be found.
const PAUSE: Duration = Duration::from_millis(500);

impl Instance {
    /// Others put events into it.
    pub(super) fn hear(self: &Arc<Self>, batch: Batch) {
        if self.is_full() {
            // It is all in the log; what isn't is the first to go under pressure.
            return self.catch_up();
        }
        // A retired instance has nobody left to tell.
        let _ = self.push(Command::Hear(Box::new(batch)));
    }

    /// Others have users in it.
    pub(super) fn hear_members(self: &Arc<Self>, peer: Id, changes: Vec<Change>) {
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
                self.catch_up();
            }
            Message::Renamed | Message::Saved => self.catch_up(),
            Message::Described => self.look_again(),
            _ => {}
        }
    }

    /// Those are there, and nobody else.
    pub(super) fn peers_are(self: &Arc<Self>, there: &Arc<BTreeSet<Id>>) {
        let idle = self.inbox.lock();
        let unaffected =
            !idle.running && self.state.lock().as_ref().is_some_and(|state| !state.is_affected(there));
        drop(idle);
        if !unaffected {
            let there = Arc::clone(there);
            self.cast(move |state| state.change_roster(|roster| roster.peers_are(&there)));
        }
    }

    /// Something of it may have been missed: that is looked for, in its turn.
    pub(super) fn catch_up(self: &Arc<Self>) {
        if !self.behind.swap(true, Ordering::AcqRel) {
            let _ = self.push(Command::CatchUp);
        }
    }

    /// Where its log ends, as far as it has it.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// Something else is known of it than before.
    pub(super) fn look_again(self: &Arc<Self>) {
        let instance = Arc::clone(self);
        // It ends with a bounded call.
        self.spawn(async move {
            let Some(archive) = instance.archive() else { return };
            match archive.known(&instance.id).await {
                Ok(Some(info)) => {
                    instance.describe_as(info);
                    instance.cast(|state| state.known());
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(room_id = &*instance.id, %error, "what is known of a room can't be read");
                    instance.catch_up_later();
                }
            }
        });
    }

    fn catch_up_later(self: &Arc<Self>) {
        let instance = Arc::downgrade(self);
        self.spawn(async move {
            sleep(PAUSE).await;
            if let Some(instance) = instance.upgrade() {
                instance.catch_up();
            }
        });
    }
}

impl Turn {
    /// Takes what others put into the log, and delivers it.
    pub(super) async fn hear(&mut self, told: Batch) {
        let room = &self.instance.room;
        // Until they are written to all readers.
        let _spans = room.traces.heard(room.name, &told);
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

    /// Finds out what was missed: events, and who came and went.
    pub(super) async fn catch_up(&mut self) {
        self.instance.behind.store(false, Ordering::Release);
        self.instance.room.meter.backfilled();
        self.deliver().await;
        self.ask().await;
        let (Some(state), Some(archive)) = (&mut self.state, self.instance.archive()) else { return };
        let Some(peers) = archive.peers.clone() else { return };
        if state.is_gone() {
            return;
        }
        let room_id = &self.instance.id;
        let looked = async {
            let known = match self.instance.room.keyed && state.is_known() {
                true => archive.known(room_id).await?.is_some(),
                false => true,
            };
            let saved = if self.instance.room.options.state { archive.state(room_id).await? } else { None };
            let name = archive.generation(room_id).await?;
            Ok::<_, StoreError>((known, saved, name, peers.members(room_id).await?))
        };
        match looked.await {
            Ok((false, ..)) => {
                let gone = state.end(DELETED);
                peers.ended(&self.instance, gone);
            }
            Ok((true, saved, name, members)) => {
                state.reload(saved);
                state.rename(name);
                state.change_roster(|roster| roster.replace(members, &peers.there()));
            }
            Err(error) => {
                tracing::debug!(room_id = &**room_id, %error, "what was missed of a room can't be found out");
                self.instance.catch_up_later();
            }
        }
    }
}
