//! Whether anything was missed though nobody said so: where logs end is compared with where they end here.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Peers, within};
use crate::hub::{Instance, Registry, instance::beginning};

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);
/// How long what is under way may take.
const UNDER_WAY: Duration = Duration::from_millis(250);
/// Rooms of one call, and of one round: with more in memory, each has its turn in another.
const CALL: usize = 512;
const MOST: usize = 4_096;

/// Compares them until the registry is gone.
pub(super) async fn run(peers: Arc<Peers>, registry: Weak<Registry>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Arc<str>> = None;
    loop {
        rounds.tick().await;
        let Some((archive, instances)) = registry
            .upgrade()
            .and_then(|registry| Some((registry.archive.clone()?, some(&registry, &mut last))))
        else {
            return;
        };
        archive.journal.look().await;
        for some in instances.chunks(CALL) {
            compare(&peers, some).await;
        }
    }
}

/// The next rooms whose turn it is; from the first on when all had theirs.
fn some(registry: &Registry, last: &mut Option<Arc<str>>) -> Vec<Arc<Instance>> {
    let mut some = Vec::new();
    while some.len() < MOST {
        let stretch = registry.stretch(last.as_deref());
        *last = stretch.last().map(|end| Arc::clone(&end.id));
        if last.is_none() {
            break;
        }
        some.extend(stretch);
    }
    some
}

async fn compare(peers: &Peers, instances: &[Arc<Instance>]) {
    let room_ids: Vec<_> = instances.iter().map(|instance| Arc::clone(&instance.id)).collect();
    let here: Vec<_> = instances.iter().map(|instance| instance.head()).collect();
    // What can't be read now is compared in the next round.
    let Ok(heads) = within(peers.backplane.heads(&room_ids)).await else { return };
    let heads =
        heads.into_iter().map(|head| head.map_or((0, 0), |head| (head.seq, beginning(&head.event_id))));
    let heads: Vec<_> = heads.collect();
    let differ = heads.iter().zip(&here).any(|(head, here)| head != here);
    if !differ {
        return;
    }
    sleep(UNDER_WAY).await;
    for ((instance, head), before) in instances.iter().zip(heads).zip(here) {
        let now = instance.head();
        // It was further on before, or still isn't so far: it missed something, or the log was set back; and else it has
        // another event there, unless it went on meanwhile.
        if head.0 < before.0 || now.0 < head.0 || (now == before && now != head) {
            instance.catch_up();
        }
    }
}
