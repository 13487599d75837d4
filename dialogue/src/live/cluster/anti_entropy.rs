//! Anti-entropy: the heads of logs in memory are compared with the backplane's, in rounds, to find events that the feed
//! lost without a notice.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Cluster, with_timeout};
use crate::{
    live::{
        LiveRoom, Registry,
        live_room::{HeadMark, id_prefix},
    },
    wire::Position,
};

/// The interval between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// The time allowed for events that are on their way in the feed.
const IN_FLIGHT_GRACE: Duration = Duration::from_millis(250);
/// Rooms compared in one call of the backplane, and in one round; the rest follow in later rounds.
const MAX_ROOMS_PER_CALL: usize = 512;
const MAX_ROOMS_PER_ROUND: usize = 4_096;

/// Runs the rounds until the registry is dropped.
pub(super) async fn run(cluster: Arc<Cluster>, registry: Weak<Registry>) {
    let mut rounds = interval(ROUND_INTERVAL);
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
        archive.journal.check().await;
        for some in instances.chunks(MAX_ROOMS_PER_CALL) {
            compare(&cluster, some).await;
        }
    }
}

/// Returns the next rooms to compare, starting over after the last.
fn some(registry: &Registry, last: &mut Option<Arc<str>>) -> Vec<Arc<LiveRoom>> {
    let mut some = Vec::new();
    while some.len() < MAX_ROOMS_PER_ROUND {
        let page = registry.page_after(last.as_deref());
        *last = page.last().map(|end| Arc::clone(&end.id));
        if last.is_none() {
            break;
        }
        some.extend(page);
    }
    some
}

async fn compare(cluster: &Cluster, instances: &[Arc<LiveRoom>]) {
    let room_ids: Vec<_> = instances.iter().map(|instance| Arc::clone(&instance.id)).collect();
    let here: Vec<_> = instances.iter().map(|instance| instance.head()).collect();
    // Heads that can't be read now are compared in the next round.
    let Ok(heads) = with_timeout(cluster.backplane.heads(&room_ids)).await else { return };
    let mark = |head: Position| HeadMark { seq: head.seq, id_prefix: id_prefix(&head.event_id) };
    let heads: Vec<_> = heads.into_iter().map(|head| head.map_or_else(HeadMark::default, mark)).collect();
    let differ = heads.iter().zip(&here).any(|(head, here)| head != here);
    if !differ {
        return;
    }
    sleep(IN_FLIGHT_GRACE).await;
    for ((instance, head), before) in instances.iter().zip(heads).zip(here) {
        let now = instance.head();
        // The room was ahead before, or still is behind: it missed events, or the log was set back. Otherwise it has
        // another event at the head, unless it went on meanwhile.
        if head.seq < before.seq || now.seq < head.seq || (now == before && now != head) {
            instance.catch_up();
        }
    }
}
