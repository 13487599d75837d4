//! What a room missed of what other instances did: events, who is in it there, and what is known of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::{Instance, inbox::Command, state::DELETED, turn::Turn};
use crate::store::StoreError;

/// Before what was missed is looked for again, where it couldn't be found: something between this and twice that.
const PAUSE: Duration = Duration::from_millis(500);

impl Instance {
    /// Something of it may have been missed: that is looked for, in its turn.
    pub(crate) fn catch_up(self: &Arc<Self>) {
        if !self.behind.swap(true, Ordering::AcqRel) {
            let _ = self.push(Command::CatchUp);
        }
    }

    /// Where its log ends, as far as it has it: the number of the newest event, and the beginning of its id.
    pub(super) fn head(&self) -> (u64, u64) {
        (self.head.load(Ordering::Acquire), self.head_id.load(Ordering::Acquire))
    }

    /// The store can't be read, or too many rooms look at once.
    fn catch_up_later(self: &Arc<Self>) {
        let instance = Arc::downgrade(self);
        // It ends with the instance, or once the store can be read.
        self.spawn(async move {
            loop {
                sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
                let Some(instance) = instance.upgrade() else { return };
                if instance.archive().is_none_or(|archive| archive.journal.is_up()) {
                    return instance.catch_up();
                }
            }
        });
    }
}

impl Turn {
    /// Finds out what was missed.
    pub(super) async fn catch_up(&mut self) {
        self.instance.behind.store(false, Ordering::Release);
        let Some(archive) = self.instance.archive().cloned() else { return };
        let Some(peers) = archive.peers.clone() else { return };
        let Some(_permit) = peers.may_catch_up().filter(|_| archive.journal.is_up()) else {
            return self.instance.catch_up_later();
        };
        self.instance.room.meter.backfilled();
        self.deliver().await;
        self.ask().await;
        let Some(state) = self.state.as_mut().filter(|state| !state.is_gone()) else { return };
        let (room, room_id) = (&self.instance.room, &self.instance.id);
        let looked = async {
            let known = if room.keyed { archive.known(room_id).await? } else { None };
            let gone = known.is_none() && room.keyed && state.is_known() && self.instance.was_deleted();
            let saved = if room.options.state { archive.state(room_id).await? } else { None };
            let (name, members) = (archive.generation(room_id).await?, peers.members(room_id).await?);
            Ok::<_, StoreError>((known, gone, saved, name, members))
        };
        match looked.await {
            Ok((_, true, ..)) => {
                let gone = state.end(DELETED);
                peers.ended(&self.instance, gone);
            }
            Ok((known, false, saved, name, members)) => {
                match known {
                    Some(info) => {
                        self.instance.said_deleted.store(false, Ordering::Release);
                        self.instance.describe_as(info);
                        state.known();
                    }
                    // The store has lost it: it is to be told again.
                    None if room.keyed => state.unknown(),
                    None => {}
                }
                state.reload(saved);
                state.rename(name);
                state.change_roster(|roster| roster.replace(members, &peers.counted()));
            }
            Err(error) => {
                tracing::debug!(room_id = &**room_id, %error, "what was missed of a room can't be found out");
                self.instance.catch_up_later();
            }
        }
    }
}
