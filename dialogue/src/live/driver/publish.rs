//! Publishing events to a log that other nodes write too: the backplane appends them behind the events that those have
//! published meanwhile.

use std::sync::Arc;

use crate::{
    cluster::backplane::Published,
    live::{
        LiveRoom,
        archive::Archive,
        driver::RoomDriver,
        room::{PendingAppend, RoomCore},
    },
    log::NotAppended,
};

/// Attempts to append to an audited log, whose events have to follow each other exactly, while other nodes append
/// first.
const MAX_ATTEMPTS: usize = 16;

impl RoomDriver {
    /// Publishes the pending batch, and delivers it together with the events that other nodes published before it.
    pub(super) async fn publish(&mut self, mut pending: PendingAppend) {
        for _ in 0..MAX_ATTEMPTS {
            let (Some(core), Some(archive)) = (&mut self.core, self.instance.archive()) else { return };
            let publication = core.take_publication(&mut pending);
            let events = publication
                .exact
                .then(|| publication.drafts.iter().map(|draft| draft.event.clone()).collect());
            if !ensure_in_catalog(core, &self.instance, archive).await {
                return core.refuse_all(pending, self.instance.clock.now());
            }
            let published = match archive.journal.publish(publication).await {
                Ok(published) => published,
                Err(error) => {
                    core.refuse_all(pending, self.instance.clock.now());
                    return self.publish_failed(error).await;
                }
            };
            let published_count = published.outcomes.len();
            let Some(unpublished) =
                events.map(|events: Vec<_>| events.into_iter().skip(published_count).collect())
            else {
                return self.commit_published(pending, published).await;
            };
            let (committed, rest) = pending.split(published_count);
            if published_count > 0 {
                self.commit_published(committed, published).await;
            } else if !self.catch_up_to(&published).await {
                let Some(core) = &mut self.core else { return };
                return core.refuse_all(rest, self.instance.clock.now());
            }
            let Some(core) = &mut self.core else { return };
            match rest.is_empty() {
                true => return,
                false => pending = core.renumber(rest, unpublished),
            }
        }
        if let Some(core) = &mut self.core {
            core.refuse_all(pending, self.instance.clock.now());
        }
    }

    /// Commits published events and delivers them.
    async fn commit_published(&mut self, pending: PendingAppend, published: Published) {
        let Some(core) = &mut self.core else { return };
        core.set_epoch_if_empty(&published.epoch);
        let mut batch = core.append_stored(&published.missed);
        if core.log().head().seq == published.before {
            core.commit_published(pending, published.outcomes, &mut batch);
            return self.deliver(batch).await;
        }
        // More events were missed than one response holds: all of them are read from the store.
        core.acknowledge(pending, published.outcomes, &mut batch);
        self.deliver(batch).await;
        self.probe_store().await;
    }

    /// Adds the events that other nodes published before; returns whether those are all.
    async fn catch_up_to(&mut self, published: &Published) -> bool {
        let Some(core) = &mut self.core else { return false };
        core.set_epoch_if_empty(&published.epoch);
        let batch = core.append_stored(&published.missed);
        self.deliver(batch).await;
        if self.head() < published.before {
            self.probe_store().await;
        }
        self.head() >= published.before
    }

    /// Handles a publication that failed or has an unknown outcome.
    async fn publish_failed(&mut self, error: NotAppended) {
        let Some(core) = &mut self.core else { return };
        match error {
            NotAppended::Untouched => self.flush_replies(),
            // The log was replaced, which the store shows at once.
            NotAppended::Unknown(error) if error.is_conflict() => {
                self.flush_replies();
                self.probe_store().await;
            }
            NotAppended::Unknown(_) => {
                core.mark_uncertain(self.instance.clock.now());
                self.flush_replies();
            }
        }
    }

    fn head(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.log().head().seq)
    }
}

/// Adds the room to the catalog before its first event; returns `false` if the store can't be written.
pub(super) async fn ensure_in_catalog(
    core: &mut RoomCore,
    instance: &Arc<LiveRoom>,
    archive: &Archive,
) -> bool {
    if !archive.journal.is_up() {
        return false;
    }
    if !core.is_in_catalog() {
        match archive.add_room(&instance.id, &instance.info()).await {
            Ok(true) => {}
            // Another node added it, with an info of its own.
            Ok(false) => instance.catch_up(),
            Err(_) => return false,
        }
        core.mark_in_catalog();
    }
    true
}
