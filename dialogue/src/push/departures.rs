//! Who left a room a moment ago: they saw what was said until then.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The last departures of users from rooms.
pub(super) struct Departures {
    /// How long they matter.
    keep: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: HashMap<Whence, Instant>,
    /// In their order, those that were followed by another too.
    order: VecDeque<(Instant, Whence)>,
}

/// A user and a room.
type Whence = (Arc<str>, Arc<str>);

/// Beyond, the oldest are forgotten, and somebody may be told of what they saw.
const MOST: usize = 200_000;

impl Departures {
    pub(super) fn new(keep: Duration) -> Self {
        Departures { keep, state: Mutex::default() }
    }

    pub(super) fn note(&self, user: &Arc<str>, room_id: &Arc<str>) {
        self.note_at(user, room_id, Instant::now());
    }

    /// A user was in a room at a time, and is no longer.
    pub(super) fn note_at(&self, user: &Arc<str>, room_id: &Arc<str>, time: Instant) {
        let (now, key) = (Instant::now(), (Arc::clone(user), Arc::clone(room_id)));
        let mut state = self.state.lock();
        while let Some((at, _)) = state.order.front()
            && (now - *at > self.keep || state.order.len() >= MOST)
        {
            let Some((at, key)) = state.order.pop_front() else { break };
            if state.last.get(&key) == Some(&at) {
                state.last.remove(&key);
            }
        }
        if state.last.get(&key).is_none_or(|known| *known < time) {
            state.last.insert(key.clone(), time);
            state.order.push_back((time, key));
        }
    }

    /// Whether a user left a room since then.
    pub(super) fn since(&self, user: &Arc<str>, room_id: &Arc<str>, time: Instant) -> bool {
        let key = (Arc::clone(user), Arc::clone(room_id));
        self.state.lock().last.get(&key).is_some_and(|left| *left >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn departures_are_forgotten_in_time() {
        let departures = Departures::new(Duration::from_secs(10));
        let (alice, bob, room): (Arc<str>, Arc<str>, Arc<str>) =
            ("alice".into(), "bob".into(), "alerts".into());
        let start = Instant::now();
        departures.note(&alice, &room);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(departures.since(&alice, &room, start) && !departures.since(&alice, &room, Instant::now()));
        assert!(!departures.since(&bob, &room, start));
        tokio::time::advance(Duration::from_secs(11)).await;
        departures.note(&bob, &room);
        assert!(!departures.since(&alice, &room, start) && departures.since(&bob, &room, start));
    }
}
