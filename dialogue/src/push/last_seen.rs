//! The times at which users left rooms. A user who left after an event was accepted has received it over the
//! connection, and needs no push of it.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::collections::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The last time that each user was seen in each room, for as long as it matters.
pub(super) struct LastSeen {
    /// The age at which an entry is dropped.
    keep: Duration,
    entries: Mutex<LastSeenEntries>,
}

#[derive(Default)]
struct LastSeenEntries {
    last: HashMap<UserInRoom, Instant>,
    /// All entries in the order in which they were recorded, outdated ones included.
    order: VecDeque<(Instant, UserInRoom)>,
}

/// A user's id and a room's.
type UserInRoom = (Arc<str>, Arc<str>);

/// The maximum of entries. Beyond it, the oldest are dropped, and a user may get a push of an event that they have
/// seen.
const MAX_ENTRIES: usize = 200_000;

impl LastSeen {
    pub(super) fn new(keep: Duration) -> Self {
        LastSeen { keep, entries: Mutex::default() }
    }

    /// Records that a user leaves a room now.
    pub(super) fn record(&self, user: &Arc<str>, room_id: &Arc<str>) {
        self.record_at(user, room_id, Instant::now());
    }

    /// Records that a user was in a room at `time`, and no longer is.
    pub(super) fn record_at(&self, user: &Arc<str>, room_id: &Arc<str>, time: Instant) {
        let (now, key) = (Instant::now(), (Arc::clone(user), Arc::clone(room_id)));
        let mut entries = self.entries.lock();
        while let Some((at, _)) = entries.order.front()
            && (now - *at > self.keep || entries.order.len() >= MAX_ENTRIES)
        {
            let Some((at, key)) = entries.order.pop_front() else { break };
            if entries.last.get(&key) == Some(&at) {
                entries.last.remove(&key);
            }
        }
        if entries.last.get(&key).is_none_or(|known| *known < time) {
            entries.last.insert(key.clone(), time);
            entries.order.push_back((time, key));
        }
    }

    /// Returns whether a user was seen in a room at `time` or later.
    pub(super) fn is_seen_since(&self, user: &Arc<str>, room_id: &Arc<str>, time: Instant) -> bool {
        let key = (Arc::clone(user), Arc::clone(room_id));
        self.entries.lock().last.get(&key).is_some_and(|seen| *seen >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_are_dropped_after_their_time() {
        let last_seen = LastSeen::new(Duration::from_secs(10));
        let (alice, bob, room): (Arc<str>, Arc<str>, Arc<str>) =
            ("alice".into(), "bob".into(), "alerts".into());
        let start = Instant::now();
        last_seen.record(&alice, &room);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(
            last_seen.is_seen_since(&alice, &room, start)
                && !last_seen.is_seen_since(&alice, &room, Instant::now())
        );
        assert!(!last_seen.is_seen_since(&bob, &room, start));
        tokio::time::advance(Duration::from_secs(11)).await;
        last_seen.record(&bob, &room);
        assert!(
            !last_seen.is_seen_since(&alice, &room, start) && last_seen.is_seen_since(&bob, &room, start)
        );
    }
}
