//! Maintenance: periodic tasks that trim logs and close idle instances that a store has.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    live::{
        LiveRoom, Registry,
        archive::Archive,
        clock::{monotonic_us, unix_ms},
        command::RoomChange,
        live_room::RoomOwner,
        room::TrimPlan,
    },
    store::StoreError,
};

/// The interval between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// Rounds between two scans of all instances in memory.
const ROUNDS_PER_SCAN: u64 = 10;
/// The interval between two scans of all rooms in the store, for those whose events expire while no instance is open.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3_600);
/// An age bound divided by this is the interval of trims by age.
const AGE_DIVISOR: u32 = 64;
/// Rooms trimmed at the same time.
const MAX_CONCURRENT_TRIMS: usize = 8;
/// The time after which an empty room leaves memory, in microseconds.
const IDLE_TIMEOUT_US: u64 = 60_000_000;
/// Rooms per page of a sweep.
const SWEEP_PAGE_ROOMS: usize = 256;

/// Runs maintenance rounds until the registry is dropped.
pub(super) async fn run(registry: Weak<Registry>) {
    let mut rounds = interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 1_u64.. {
        rounds.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        if round.is_multiple_of(ROUNDS_PER_SCAN) {
            scan_live_rooms(&registry);
        }
        let Some(archive) = registry.archive().cloned() else { continue };
        if archive.journal.is_up() {
            trim(&registry, &archive).await;
            archive.save_last_used().await;
        }
    }
}

/// Sweeps the rooms that aren't in memory, at intervals, until the registry is dropped.
pub(super) async fn sweep(registry: Weak<Registry>) {
    let mut sweeps = interval(SWEEP_INTERVAL);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, while the server starts.
    sweeps.tick().await;
    loop {
        sweeps.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        let Some(archive) = registry.archive().cloned() else { return };
        if let Err(error) = sweep_once(&registry, &archive).await {
            tracing::debug!(%error, "rooms that aren't in memory can't be trimmed");
        }
    }
}

/// Scans all instances in memory.
fn scan_live_rooms(registry: &Arc<Registry>) {
    let mut last: Option<Arc<str>> = None;
    loop {
        let page = registry.page_after(last.as_deref());
        let Some(end) = page.last() else { return };
        last = Some(Arc::clone(&end.id));
        for instance in &page {
            check_live_room(registry, instance);
        }
    }
}

fn check_live_room(registry: &Arc<Registry>, instance: &Arc<LiveRoom>) {
    let Some(age) = instance.room.options.retention.age.filter(|_| registry.archive().is_none()) else {
        let aged =
            instance.room.options.retention.age.is_some_and(|age| instance.take_trim_due(age / AGE_DIVISOR));
        if aged {
            registry.context.trim_queue.push(&instance.id);
        }
        let idle = instance.room.keyed
            && instance.size() == 0
            && instance.emptied_at_us.load(Ordering::Relaxed) + IDLE_TIMEOUT_US < monotonic_us();
        if let Some(archive) = registry.archive()
            && idle
            && instance.close_if_idle()
        {
            registry.remove(instance, false);
            archive.note_unloaded(&instance.id, &instance.info());
        }
        return;
    };
    if instance.take_trim_due(age / AGE_DIVISOR) {
        instance.trim_idle_memory();
    }
}

/// Trims the rooms that are due; those that fail stay due.
async fn trim(registry: &Arc<Registry>, archive: &Arc<Archive>) {
    let due = registry.context.trim_queue.take();
    let trims = due.into_iter().filter_map(|room_id| registry.find(&room_id));
    let trims =
        futures_util::stream::iter(trims).for_each_concurrent(MAX_CONCURRENT_TRIMS, async |instance| {
            if !archive.journal.is_up() {
                return registry.context.trim_queue.push(&instance.id);
            }
            if let Err(error) = instance.trim_stored(archive).await {
                tracing::debug!(room_id = &*instance.id, %error, "a room can't be trimmed");
                registry.context.trim_queue.push(&instance.id);
            }
        });
    trims.await;
}

/// Trims the rooms that aren't in memory and whose events may have expired.
async fn sweep_once(registry: &Arc<Registry>, archive: &Archive) -> Result<(), StoreError> {
    let mut last: Option<Arc<str>> = None;
    loop {
        let (page, next) = archive.rooms(last.as_deref(), SWEEP_PAGE_ROOMS).await?;
        for (room_id, _) in page {
            let Ok((room, _)) = registry.declared(&room_id) else { continue };
            if room.options.retention.age.is_none() || registry.find(&room_id).is_some() {
                continue;
            }
            let Some(head) = archive.journal.head(&room_id).await? else { continue };
            let trim_plan = TrimPlan {
                room_id: Arc::clone(&room_id),
                epoch: head.epoch,
                retention: room.options.retention,
                first: head.first,
                head: head.last.seq,
                end: head.last.offset,
                needs_store_lookup: true,
            };
            archive.trim(&trim_plan, unix_ms()).await?;
        }
        match next {
            Some(next) => last = Some(next),
            None => return Ok(()),
        }
    }
}

impl LiveRoom {
    /// Trims the store's part of the log.
    async fn trim_stored(self: &Arc<Self>, archive: &Archive) -> Result<(), StoreError> {
        let Some(trim_plan) = self.request(RoomChange::PlanTrim).await else { return Ok(()) };
        let first = archive.trim(&trim_plan, unix_ms()).await?;
        self.enqueue(RoomChange::Trimmed(first));
        Ok(())
    }
}
