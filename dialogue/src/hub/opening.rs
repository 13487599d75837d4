//! How an instance comes into memory: looked for in the store, while what is pushed waits.

use std::sync::Arc;

use super::{
    Instance, Registry,
    inbox::Command,
    state::{State, now, unavailable},
    turn::Turn,
};
use crate::{Refusal, store::StoreError};

impl Instance {
    /// Looks for it in the store, and then does what was pushed meanwhile.
    pub(super) async fn open(self: Arc<Self>) {
        let (Some(archive), Some(registry)) = (self.archive(), self.registry.upgrade()) else { return };
        let opened = async {
            let found = archive.find(&self.room, &self.id, now()).await?;
            if found.log.is_none() {
                // It is another where the store has forgotten it, and everything else with it.
                registry.read_epoch().await?;
            }
            let new = self.room.keyed && found.info.is_none() && found.log.is_none();
            if new && archive.peers.is_some() && archive.total() >= registry.most {
                archive.recount().await?;
            }
            if new && archive.total() >= registry.most {
                registry.renew_epoch().await?;
                archive.make_space(|room_id| registry.find(room_id).is_some()).await?;
            }
            Ok(match new && archive.total() >= registry.most {
                true => Err(registry.too_many()),
                false => Ok(found),
            })
        };
        let opened = opened.await.unwrap_or_else(|error: StoreError| {
            if archive.journal.may_tell() {
                tracing::error!(room_id = &*self.id, %error, "a room can't be opened; nor may others");
            }
            Err(unavailable(&self.id))
        });
        match opened {
            Ok(found) => {
                if let Some(info) = &found.info {
                    self.describe_as(info.clone());
                }
                let (this, room, id) = (Arc::downgrade(&self), Arc::clone(&self.room), Arc::clone(&self.id));
                let state = State::new(this, room, id, Some(Arc::clone(archive)), registry.epoch(), found);
                self.tell_head(state.log().head());
                self.tell_size(0, state.elsewhere());
                *self.state.lock() = Some(Box::new(state));
                drop(registry);
                Turn::work(self).await;
            }
            Err(refusal) => self.fail(&registry, refusal),
        }
    }

    /// It can't be opened: who waits is told, and who comes next makes a new try.
    fn fail(self: &Arc<Self>, registry: &Registry, refusal: Refusal) {
        // Before anybody finds out that it is no more.
        let _ = self.failure.set(refusal.clone());
        let waiting = {
            let mut inbox = self.inbox.lock();
            (inbox.retired, inbox.running) = (true, false);
            std::mem::take(&mut inbox.commands)
        };
        for command in waiting {
            if let Command::Publish(publish) = command
                && let Some(outbox) = publish.turn_down(&self.room.meter, refusal.clone())
            {
                outbox.nudge();
            }
        }
        self.space.notify_waiters();
        registry.forget(self, false);
    }
}
