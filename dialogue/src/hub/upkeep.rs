//! What rooms need though nobody asks: logs are trimmed, and what nobody is in leaves memory where a store has it.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Instance, Registry,
    archive::{Archive, Trimming},
    state::now,
};
use crate::store::StoreError;

/// The rooms that are to be trimmed in the store.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: Mutex<HashSet<Arc<str>>>,
}

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks at every room in memory.
const LOOK: u64 = 10;
/// Between two looks at every room in the store, for those whose events grow old while nobody comes.
const SWEEP: Duration = Duration::from_secs(3_600);
/// In which share of an age a room is trimmed by it.
const SHARE: u32 = 64;
/// Rooms that are trimmed at once.
const AT_ONCE: usize = 8;
/// How long a room may be empty before it leaves memory, in microseconds.
const IDLE_US: u64 = 60_000_000;
/// Rooms of the store that are looked at in one go.
const PAGE: usize = 256;

/// Milliseconds by a clock that nobody sets.
pub(super) fn moment() -> u64 {
    moment_us() / 1_000
}

/// The same in microseconds: of two rooms that were left one after the other, it says which was first.
pub(super) fn moment_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Upkeep {
    /// The room is trimmed in the next round.
    pub(super) fn trim(&self, room_id: &Arc<str>) {
        self.due.lock().insert(Arc::clone(room_id));
    }
}

/// Does rounds until the registry is gone.
pub(super) async fn run(registry: Weak<Registry>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 1_u64.. {
        rounds.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        if round.is_multiple_of(LOOK) {
            look(&registry);
        }
        let Some(archive) = registry.archive.clone() else { continue };
        if archive.journal.is_up() {
            trim(&registry, &archive).await;
            archive.save_left().await;
        }
    }
}

/// Looks now and then at the rooms that aren't in memory, until the registry is gone.
pub(super) async fn sweep(registry: Weak<Registry>) {
    let mut sweeps = interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once, and a start has enough to do.
    sweeps.tick().await;
    loop {
        sweeps.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        let Some(archive) = registry.archive.clone() else { return };
        if let Err(error) = sweep_once(&registry, &archive).await {
            tracing::debug!(%error, "rooms that aren't in memory can't be trimmed");
        }
    }
}

/// Looks at every room in memory.
fn look(registry: &Arc<Registry>) {
    let mut last: Option<Arc<str>> = None;
    loop {
        let stretch = registry.stretch(last.as_deref());
        let Some(end) = stretch.last() else { return };
        last = Some(Arc::clone(&end.id));
        for instance in &stretch {
            look_at(registry, instance);
        }
    }
}

fn look_at(registry: &Arc<Registry>, instance: &Arc<Instance>) {
    let Some(age) = instance.room.options.retention.age.filter(|_| registry.archive.is_none()) else {
        let aged = instance.room.options.retention.age.is_some_and(|age| instance.is_untrimmed(age / SHARE));
        if aged {
            registry.upkeep.trim(&instance.id);
        }
        let idle = instance.room.keyed
            && instance.size() == 0
            && instance.emptied.load(Ordering::Relaxed) + IDLE_US < moment_us();
        if let Some(archive) = &registry.archive
            && idle
            && instance.retire_if_idle()
        {
            registry.forget(instance, false);
            archive.note_unloaded(instance);
        }
        return;
    };
    if instance.is_untrimmed(age / SHARE) {
        instance.trim_if_idle();
    }
}

/// Trims the rooms that are due; those that can't be are so again.
async fn trim(registry: &Arc<Registry>, archive: &Arc<Archive>) {
    let due = std::mem::take(&mut *registry.upkeep.due.lock());
    let trims = due.into_iter().filter_map(|room_id| registry.find(&room_id));
    let trims = futures_util::stream::iter(trims).for_each_concurrent(AT_ONCE, async |instance| {
        if !archive.journal.is_up() {
            return registry.upkeep.trim(&instance.id);
        }
        if let Err(error) = instance.trim_stored(archive).await {
            tracing::debug!(room_id = &*instance.id, %error, "a room can't be trimmed");
            registry.upkeep.trim(&instance.id);
        }
    });
    trims.await;
}

/// Trims rooms that aren't in memory and whose events may have grown too old.
async fn sweep_once(registry: &Arc<Registry>, archive: &Archive) -> Result<(), StoreError> {
    let mut last: Option<Arc<str>> = None;
    loop {
        let (page, next) = archive.rooms(last.as_deref(), PAGE).await?;
        for (room_id, _) in page {
            let Ok((room, _)) = registry.declared(&room_id) else { continue };
            if room.options.retention.age.is_none() || registry.find(&room_id).is_some() {
                continue;
            }
            let Some(head) = archive.journal.head(&room_id).await? else { continue };
            let trimming = Trimming {
                room_id: Arc::clone(&room_id),
                epoch: head.epoch,
                retention: room.options.retention,
                first: head.first,
                head: head.last.seq,
                end: head.last.offset,
                unsure: true,
            };
            archive.trim(&trimming, now()).await?;
        }
        match next {
            Some(next) => last = Some(next),
            None => return Ok(()),
        }
    }
}

impl Instance {
    /// Trims what the store has of it.
    async fn trim_stored(self: &Arc<Self>, archive: &Archive) -> Result<(), StoreError> {
        let Some(trimming) = self.run(|state| state.trimming()).await else { return Ok(()) };
        let first = archive.trim(&trimming, now()).await?;
        self.cast(move |state| state.trimmed(first));
        Ok(())
    }
}
