//! Anti-entropy: the heads of logs in memory are compared with the backplane's, in rounds, to find events that the feed
//! lost without a notice.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Cluster, HeadMark, SharedRooms, id_prefix, with_timeout};
use crate::wire::Position;

/// The interval between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
/// The time allowed for events that are on their way in the feed.
const IN_FLIGHT_GRACE: Duration = Duration::from_millis(250);
/// Rooms compared in one call of the backplane, and in one round; the rest follow in later rounds.
const MAX_ROOMS_PER_CALL: usize = 512;
const MAX_ROOMS_PER_ROUND: usize = 4_096;

/// Runs the rounds until the rooms are dropped.
pub(super) async fn run(cluster: Arc<Cluster>, rooms: Weak<dyn SharedRooms>) {
    let mut rounds = interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Arc<str>> = None;
    loop {
        rounds.tick().await;
        let Some(rooms) = rooms.upgrade() else { return };
        rooms.check_store().await;
        let here = next_heads(&*rooms, &mut last);
        for here in here.chunks(MAX_ROOMS_PER_CALL) {
            compare(&cluster, &*rooms, here).await;
        }
    }
}

/// Returns the next heads to compare, starting over after the last.
fn next_heads(rooms: &dyn SharedRooms, last: &mut Option<Arc<str>>) -> Vec<(Arc<str>, HeadMark)> {
    let mut heads = Vec::new();
    while heads.len() < MAX_ROOMS_PER_ROUND {
        let page = rooms.heads_after(last.as_deref());
        *last = page.last().map(|(room_id, _)| Arc::clone(room_id));
        if last.is_none() {
            break;
        }
        heads.extend(page);
    }
    heads
}

async fn compare(cluster: &Cluster, rooms: &dyn SharedRooms, here: &[(Arc<str>, HeadMark)]) {
    let room_ids: Vec<_> = here.iter().map(|(room_id, _)| Arc::clone(room_id)).collect();
    // Heads that can't be read now are compared in the next round.
    let Ok(heads) = with_timeout(cluster.backplane.heads(&room_ids)).await else { return };
    let mark = |head: Position| HeadMark { seq: head.seq, id_prefix: id_prefix(&head.event_id) };
    let heads: Vec<_> = heads.into_iter().map(|head| head.map_or_else(HeadMark::default, mark)).collect();
    let differ = heads.iter().zip(here).any(|(head, (_, here))| head != here);
    if !differ {
        return;
    }
    sleep(IN_FLIGHT_GRACE).await;
    for ((room_id, before), head) in here.iter().zip(heads) {
        let Some(now) = rooms.head(room_id) else { continue };
        // The room was ahead before, or still is behind: it missed events, or the log was set back. Otherwise it has
        // another event at the head, unless it went on meanwhile.
        if head.seq < before.seq || now.seq < head.seq || (now == *before && now != head) {
            rooms.catch_up(room_id);
        }
    }
}
