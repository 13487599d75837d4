//! How an instance comes into memory: looked for in the store, while what is pushed waits.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::OnceCell;

use super::{
    Archive, Instance, Registry,
    archive::Outcome,
    inbox::Command,
    newcomers::Subject,
    state::{State, now, unavailable},
    turn::Turn,
};
use crate::{Refusal, store::StoreError};

/// Of a client's own rooms, those that the store is asked for in one go.
const OWN_QUERIES: usize = 64;

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
            if found.info.is_some() {
                archive.note_left(&self.id);
            } else if self.room.keyed
                && found.log.is_none()
                && let Err(refusal) = self.make_place(&registry, archive).await?
            {
                return Ok(Err(refusal));
            }
            Ok(Ok(found))
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

    /// Makes place for it, of which the store knows nothing; or says why it can't be.
    async fn make_place(
        self: &Arc<Self>,
        registry: &Arc<Registry>,
        archive: &Arc<Archive>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let maker = self.maker.as_ref().filter(|_| !self.applied.load(Ordering::Relaxed));
        if let Some(maker) = maker {
            match registry.newcomers.admit(maker, &self.id) {
                Ok(made) => self.is_made(made),
                Err(exceeded) => return Ok(Err(registry.newcomers.refuse(exceeded))),
            }
            // What the store knows is beside these.
            if registry.is_full() {
                return Ok(Err(registry.too_many()));
            }
        }
        if archive.total() < registry.most {
            return Ok(Ok(()));
        }
        if archive.peers.is_some() {
            archive.recount().await?;
        }
        if archive.total() >= registry.most {
            let own = maker.and_then(|maker| registry.newcomers.over_share(maker));
            registry.make_stored_space(archive, own.as_ref()).await?;
        }
        let full = match maker {
            Some(_) => archive.total() >= registry.most,
            // What clients hold is not in the application's way.
            None => archive.total() >= 2 * registry.most || archive.kept() >= registry.most,
        };
        Ok(if full { Err(registry.too_many()) } else { Ok(()) })
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

impl Registry {
    /// Forgets some rooms of the store that nobody is in, those that were left longest; or of a client's `own`.
    async fn make_stored_space(
        self: &Arc<Self>,
        archive: &Archive,
        own: Option<&Subject>,
    ) -> Result<(), StoreError> {
        let is_here = |room_id: &str| self.find(room_id).is_some();
        let renewed = OnceCell::new();
        let renew_epoch = || async {
            let is_first = !renewed.initialized();
            renewed.get_or_try_init(|| self.renew_epoch()).await.map(|()| is_first)
        };
        let gone = match own {
            Some(own) => self.make_space_among(own.clone(), archive, &is_here, &renew_epoch).await?,
            None => {
                let mut gone = archive.make_space(self.most, is_here, renew_epoch).await?;
                if gone.is_empty() && !self.unload_idle(None).is_empty() {
                    gone = archive.make_space(self.most, is_here, renew_epoch).await?;
                }
                gone
            }
        };
        for room_id in gone {
            self.newcomers.withdraw(&room_id);
            if let Ok((room, _)) = self.declared(&room_id) {
                self.forgotten(room, &room_id);
            }
        }
        Ok(())
    }

    /// Forgets one of the rooms that a client made and nobody is in.
    async fn make_space_among<F: Future<Output = Result<bool, StoreError>>>(
        &self,
        own: Subject,
        archive: &Archive,
        is_here: &impl Fn(&str) -> bool,
        renew_epoch: &impl Fn() -> F,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let mut own = self.newcomers.made_by(own);
        let unloaded = self.unload_idle(Some(&own));
        let may_ask = self.newcomers.may_ask(&own.subject);
        let mut asked = 0;
        for (number, room_id) in own.rooms {
            if !may_ask && !unloaded.contains(&room_id) {
                continue;
            }
            if is_here(&room_id) {
                // It costs the store nothing.
                continue;
            }
            asked += 1;
            match archive.forget_unused(&room_id, is_here, renew_epoch).await? {
                Outcome::Gone => {
                    self.newcomers.note_fruitful_look(&own.subject);
                    return Ok(vec![room_id]);
                }
                Outcome::Stays => self.newcomers.withdraw(&room_id),
                Outcome::Used => {}
            }
            if asked == OWN_QUERIES {
                own.last = number;
                break;
            }
        }
        if may_ask {
            self.newcomers.note_fruitless_query(&own.subject, own.last);
        }
        Ok(Vec::new())
    }
}
