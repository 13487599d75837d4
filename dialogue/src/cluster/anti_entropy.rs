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

/// Runs the rounds until the rooms are dropped. Nothing that awaits holds the rooms.
pub(super) async fn run(cluster: Arc<Cluster>, rooms: Weak<dyn SharedRooms>) {
    let mut rounds = interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Arc<str>> = None;
    loop {
        rounds.tick().await;
        let Some((check, round)) =
            rooms.upgrade().map(|rooms| (rooms.check_store(), next_rooms(&*rooms, &mut last)))
        else {
            return;
        };
        check.await;
        for room_ids in round.chunks(MAX_ROOMS_PER_CALL) {
            compare(&cluster, &rooms, room_ids).await;
        }
    }
}

/// Returns the next rooms to compare, starting over after the last.
fn next_rooms(rooms: &dyn SharedRooms, last: &mut Option<Arc<str>>) -> Vec<Arc<str>> {
    let mut room_ids = Vec::new();
    while room_ids.len() < MAX_ROOMS_PER_ROUND {
        let page = rooms.rooms_after(last.as_deref());
        *last = page.last().cloned();
        if last.is_none() {
            break;
        }
        room_ids.extend(page);
    }
    room_ids
}

async fn compare(cluster: &Cluster, rooms: &Weak<dyn SharedRooms>, room_ids: &[Arc<str>]) {
    let Some(here) = rooms.upgrade().map(|rooms| heads_of(&*rooms, room_ids)) else { return };
    // Heads that can't be read now are compared in the next round.
    let Ok(heads) = with_timeout(cluster.backplane.heads(room_ids)).await else { return };
    let mark = |head: Position| HeadMark { seq: head.seq, id_prefix: id_prefix(&head.event_id) };
    let heads: Vec<_> = heads.into_iter().map(|head| head.map_or_else(HeadMark::default, mark)).collect();
    let differ = heads.iter().zip(&here).any(|(head, here)| here.is_some_and(|here| here != *head));
    if !differ {
        return;
    }
    sleep(IN_FLIGHT_GRACE).await;
    let Some(rooms) = rooms.upgrade() else { return };
    for ((room_id, head), before) in room_ids.iter().zip(heads).zip(here) {
        // A room that closed meanwhile has no head.
        let (Some(before), Some(now)) = (before, rooms.head(room_id)) else { continue };
        // The room was ahead before, or still is behind: it missed events, or the log was set back. Otherwise it has
        // another event at the head, unless it went on meanwhile.
        if head.seq < before.seq || now.seq < head.seq || (now == before && now != head) {
            rooms.catch_up(room_id);
        }
    }
}

fn heads_of(rooms: &dyn SharedRooms, room_ids: &[Arc<str>]) -> Vec<Option<HeadMark>> {
    room_ids.iter().map(|room_id| rooms.head(room_id)).collect()
}
