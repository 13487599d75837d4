//! Probing the store for the end of a log: after an append whose outcome is unknown, and after lost messages of other
//! nodes. The log then adopts further events, or is superseded if the store has another log.

use std::{mem, sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    cluster::RoomNotice,
    live::{
        LiveRoom,
        archive::Archive,
        driver::RoomDriver,
        room::{RoomCore, StoreHead},
    },
    log::LogHead,
    store::{Order, Query, StoreError},
    wire::Id,
};

/// Events per page, of those that the store has beyond the log.
const PAGE_EVENTS: usize = 1_000;

/// The time allowed between the removal of a log and the removal of its room from the catalog.
const DELETION_GRACE: Duration = Duration::from_millis(100);

/// The log in the store, compared with memory.
enum LogComparison {
    /// The same as in memory.
    Same,
    /// Further events follow.
    Ahead,
    /// Not in the same history: the store has another log, or lost it.
    Replaced,
    /// No log: another node deleted the room.
    Deleted,
    /// Another node began the log, with this epoch.
    New(Arc<str>),
}

impl RoomDriver {
    /// Reads the end of the log from the store, resolves an unknown outcome by it, and replies to the senders of events
    /// that are refused by that.
    pub(super) async fn probe_store(&mut self) {
        self.resolve().await;
        self.flush_replies();
    }

    /// Probes the store, once for all that request it in a group of commands: many clients may reconnect at once.
    pub(super) async fn probe_once(&mut self) {
        if !mem::replace(&mut self.has_probed, true) {
            self.probe_store().await;
        }
    }

    async fn resolve(&mut self) {
        let (Some(core), Some(archive)) = (&mut self.core, self.instance.archive()) else { return };
        // A closed instance has nothing to resolve; the log in the store may be that of the next one.
        if core.is_closed() {
            return;
        }
        if !archive.journal.is_up() {
            return core.mark_uncertain(self.instance.clock.now());
        }
        let end = end(core, &self.instance, archive).await;
        match end {
            Ok(LogComparison::Same) => core.mark_certain(self.instance.clock.now()),
            Ok(LogComparison::Ahead) => self.append_stored().await,
            Ok(LogComparison::New(epoch)) => {
                core.set_epoch_if_empty(&epoch);
                self.append_stored().await;
            }
            Ok(LogComparison::Replaced) => {
                self.supersede("the store has another log of a room than this node")
            }
            Ok(LogComparison::Deleted) => self.close_deleted(),
            Err(error) => {
                tracing::debug!(room_id = &*self.instance.id, %error, "the end of a log can't be read");
                core.mark_uncertain(self.instance.clock.now());
            }
        }
    }

    /// Adds the events that the store has beyond the log, and delivers them.
    async fn append_stored(&mut self) {
        loop {
            let (Some(core), Some(archive)) = (&mut self.core, self.instance.archive()) else { return };
            let mut query = Query::new(Order::OldestFirst, PAGE_EVENTS);
            query.after = Some(core.log().head().seq);
            let Ok(page) = archive.journal.read(&self.instance.id, query).await else {
                return core.mark_uncertain(self.instance.clock.now());
            };
            let before = core.log().head().seq;
            if page.events.first().is_some_and(|first| first.seq > before + 1) {
                return self.supersede(
                    "more events were published to a room than it retains, while this node received none",
                );
            }
            if !page.events.is_empty() {
                // Another log may have taken its place since the head was read.
                match has_log(core, archive, &self.instance).await {
                    Ok(true) => {}
                    Ok(false) => return self.supersede("the log of a room was replaced while it was read"),
                    Err(_) => return core.mark_uncertain(self.instance.clock.now()),
                }
            }
            let batch = core.append_stored(&page.events);
            if core.log().head().seq == before {
                return core.mark_certain(self.instance.clock.now());
            }
            self.deliver(batch).await;
        }
    }
}

/// Fails if the store has another log than memory, or none any more. While it can't be read, it counts as unchanged.
pub(super) async fn check_log_exists(
    core: &mut RoomCore,
    instance: &LiveRoom,
    archive: &Archive,
) -> Result<(), ()> {
    match end(core, instance, archive).await {
        Ok(LogComparison::Same | LogComparison::Ahead | LogComparison::New(_)) | Err(_) => Ok(()),
        Ok(LogComparison::Replaced | LogComparison::Deleted) => {
            core.mark_uncertain(instance.clock.now());
            Err(())
        }
    }
}

async fn end(
    core: &mut RoomCore,
    instance: &LiveRoom,
    archive: &Archive,
) -> Result<LogComparison, StoreError> {
    let found = archive.journal.head(&instance.id).await?;
    let mut end = core.compare_head(found.as_ref());
    if let StoreHead::AheadOf { .. } = end {
        end = if has_log(core, archive, instance).await? { StoreHead::Ahead } else { StoreHead::SetBack };
    }
    Ok(match end {
        StoreHead::Same => LogComparison::Same,
        StoreHead::Ahead | StoreHead::AheadOf { .. } => LogComparison::Ahead,
        StoreHead::New(epoch) => LogComparison::New(epoch),
        StoreHead::Replaced => LogComparison::Replaced,
        StoreHead::Missing if is_deleted(core, instance, archive).await? => LogComparison::Deleted,
        StoreHead::Missing => {
            // Its numbers will be given again, in this room and in rooms that aren't in memory.
            instance.context.epoch.renew_if(&Arc::clone(core.store_epoch())).await?;
            archive.remove_epoch_override(&instance.id).await?;
            LogComparison::Replaced
        }
        StoreHead::SetBack => {
            // For example by a restored backup.
            archive.renew_epoch_override(&instance.id, core.store_epoch(), core.log().epoch()).await?;
            core.notify_nodes(RoomNotice::EpochChanged);
            LogComparison::Replaced
        }
    })
}

/// Returns whether a room without a log was deleted: then the catalog doesn't have it either.
async fn is_deleted(core: &RoomCore, instance: &LiveRoom, archive: &Archive) -> Result<bool, StoreError> {
    // Without a message of its deletion, the store was emptied, or set back to before it had the room.
    if !core.is_clustered() || !instance.room.keyed || !instance.was_deleted() {
        return Ok(false);
    }
    if archive.known(&instance.id).await?.is_some() {
        // A deletion removes the log first.
        sleep(DELETION_GRACE).await;
        return Ok(archive.known(&instance.id).await?.is_none());
    }
    Ok(true)
}

/// Returns whether the store has the log of memory: its newest event, or, if that is trimmed or there is none, its epoch
/// by both its names. Another node has overridden the one of a log that was set back and has grown again since.
async fn has_log(core: &RoomCore, archive: &Archive, instance: &LiveRoom) -> Result<bool, StoreError> {
    let LogHead { seq, event_id } = core.log().head();
    let known = if seq > 0 { id_at(archive, instance, seq).await? } else { None };
    if let Some(id) = known {
        return Ok(id.as_str() == event_id);
    }
    let head = archive.journal.head(&instance.id).await?;
    let epoch = archive.epoch_override(&instance.id, core.store_epoch()).await?;
    let epoch = epoch.as_ref().unwrap_or_else(|| core.store_epoch());
    Ok(head.is_some_and(|head| head.epoch == *core.store_epoch()) && epoch == core.log().epoch())
}

async fn id_at(archive: &Archive, instance: &LiveRoom, seq: u64) -> Result<Option<Id>, StoreError> {
    let mut query = Query::new(Order::OldestFirst, 1);
    (query.after, query.before) = (Some(seq - 1), Some(seq + 1));
    let page = archive.journal.read(&instance.id, query).await?;
    Ok(page.events.first().map(|event| event.event_id))
}
