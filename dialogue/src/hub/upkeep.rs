//! What rooms need though nobody asks: logs are trimmed, and what nobody is in leaves memory where a store has it.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Registry,
    archive::{Archive, Trimming},
    state::now,
};

/// The rooms that are to be trimmed in the store.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: Mutex<HashSet<Arc<str>>>,
}

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds between two looks at every room in memory.
const LOOK: u64 = 10;
/// Rounds between two looks at every room in the store, for those whose events grow old while nobody comes.
const SWEEP: u64 = 3_600;
/// How long a room may be empty before it leaves memory, in milliseconds.
const IDLE_MS: u64 = 60_000;
/// Rooms of the store that are looked at in one go.
const PAGE: usize = 256;

/// Milliseconds by a clock that nobody sets.
pub(super) fn moment() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
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
            if round.is_multiple_of(SWEEP) {
                sweep(&registry, &archive).await;
            }
        }
    }
}

/// Looks at every room in memory.
fn look(registry: &Arc<Registry>) {
    let stored = registry.archive.is_some();
    let mut last: Option<Arc<str>> = None;
    loop {
        let stretch = registry.stretch(last.as_deref());
        let Some(end) = stretch.last() else { return };
        last = Some(Arc::clone(&end.id));
        for instance in &stretch {
            if instance.room.options.retention.age.is_some() {
                if stored {
                    registry.upkeep.trim(&instance.id);
                } else {
                    instance.cast(|state| state.grow_old());
                }
            }
            let idle = instance.room.keyed
                && instance.size() == 0
                && instance.emptied.load(Ordering::Relaxed) + IDLE_MS < moment();
            if stored && idle && instance.retire_if_idle() {
                registry.forget(instance, false);
            }
        }
    }
}

/// Trims the rooms that are due.
async fn trim(registry: &Arc<Registry>, archive: &Archive) {
    let due = std::mem::take(&mut *registry.upkeep.due.lock());
    for room_id in due {
        let Some(instance) = registry.find(&room_id) else { continue };
        let Some(trimming) = instance.run(|state| state.trimming()).await else { continue };
        match archive.trim(&trimming, now()).await {
            Ok(first) => instance.cast(move |state| state.trimmed(first)),
            Err(error) => tracing::debug!(%room_id, %error, "a room can't be trimmed"),
        }
    }
}

/// Trims rooms that aren't in memory and whose events may have grown too old.
async fn sweep(registry: &Arc<Registry>, archive: &Archive) {
    let mut last: Option<Arc<str>> = None;
    loop {
        let Ok(page) = archive.rooms(last.as_deref(), PAGE).await else { return };
        let Some((end, _)) = page.last() else { return };
        last = Some(Arc::clone(end));
        for (room_id, _) in page {
            let Ok((room, _)) = registry.declared(&room_id) else { continue };
            if room.options.retention.age.is_none() || registry.find(&room_id).is_some() {
                continue;
            }
            let Ok(Some(head)) = archive.journal.head(&room_id).await else { continue };
            let trimming = Trimming {
                room_id: Arc::clone(&room_id),
                retention: room.options.retention,
                first: head.first,
                head: head.last.seq,
                end: head.last.offset,
                unsure: true,
            };
            if let Err(error) = archive.trim(&trimming, now()).await {
                tracing::debug!(%room_id, %error, "a room can't be trimmed");
            }
        }
    }
}
