//! Middleware that blocks repeated events.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Refusal, Room};

/// Blocks an event that the same user has just sent to the same room with the same payload: a double click, or spam.
///
/// A retry is not blocked: an event with the idempotency key of the earlier one passes, and the room recognises it.
/// Events of server code and of server keys pass. The newest 100,000 events are remembered, at 48 bytes each; if more
/// arrive within the time, the oldest are forgotten early, and may then be repeated.
///
/// ```
/// use std::time::Duration;
///
/// use dialogue::middleware::Dedup;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! {
///     chat: [Message] via [websocket] with [Dedup::within(Duration::from_secs(5))];
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Dedup {
    window: Duration,
    hasher: RandomState,
    recent: Mutex<RecentEvents>,
}

/// The events of the window, by their hash.
#[derive(Debug, Default)]
struct RecentEvents {
    events: HashMap<u64, RecentEvent>,
    /// The hashes by time, oldest first.
    order: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
struct RecentEvent {
    sent: Instant,
    /// The hash of the sender and the idempotency key.
    key: Option<u64>,
}

const MAX_REMEMBERED_EVENTS: usize = 100_000;

impl Dedup {
    /// Blocks repetitions of an event for this time after it was sent.
    pub fn within(window: Duration) -> Self {
        Dedup { window, hasher: RandomState::new(), recent: Mutex::default() }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Dedup {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let (Some(_), Ok(json)) = (&cx.event.rate_limit_key, serde_json::to_string(&event)) else {
            return next.run(cx, event).await;
        };
        // By user, as idempotency keys are, and not by address: other users of an address may send the same.
        let hash = self.hasher.hash_one((cx.from(), cx.room_id(), E::NAME, json));
        let key = cx.idempotency_key().map(|key| self.hasher.hash_one((cx.from(), key)));
        let provisional = match self.recent.lock().check(hash, key, self.window) {
            Check::New(sent) => Some(Provisional { dedup: self, event: hash, sent }),
            Check::Retry => None,
            Check::Duplicate => {
                return Err(Refusal::blocked("this repeats an event that you have just sent"));
            }
        };
        let flow = next.run(cx, event).await;
        if let (Some(provisional), Ok(_)) = (provisional, &flow) {
            provisional.keep();
        }
        flow
    }
}

/// An entry that is removed again unless the event is accepted. It is also removed if the future is dropped.
struct Provisional<'a> {
    dedup: &'a Dedup,
    event: u64,
    sent: Instant,
}

impl Provisional<'_> {
    fn keep(self) {
        // Leaks nothing: the fields are a borrow and two numbers.
        std::mem::forget(self);
    }
}

impl Drop for Provisional<'_> {
    fn drop(&mut self) {
        let mut recent = self.dedup.recent.lock();
        if recent.events.get(&self.event).is_some_and(|event| event.sent == self.sent) {
            recent.events.remove(&self.event);
        }
    }
}

#[derive(Debug, PartialEq)]
enum Check {
    /// The event was recorded with this time.
    New(Instant),
    /// The event is remembered with the same idempotency key.
    Retry,
    Duplicate,
}

impl RecentEvents {
    /// Records an event unless it is remembered, and forgets those that are older than `window`.
    fn check(&mut self, event: u64, key: Option<u64>, window: Duration) -> Check {
        let now = Instant::now();
        while let Some((oldest, sent)) = self.order.front()
            && (self.order.len() >= MAX_REMEMBERED_EVENTS || now.duration_since(*sent) >= window)
        {
            if self.events.get(oldest).is_some_and(|event| event.sent == *sent) {
                self.events.remove(oldest);
            }
            self.order.pop_front();
        }
        if let Some(before) = self.events.get(&event) {
            return if key.is_some() && before.key == key { Check::Retry } else { Check::Duplicate };
        }
        self.events.insert(event, RecentEvent { sent: now, key });
        self.order.push_back((event, now));
        Check::New(now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(5);

    impl RecentEvents {
        fn passes(&mut self, event: u64, key: Option<u64>) -> bool {
            self.check(event, key, WINDOW) != Check::Duplicate
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_repetition_passes_after_the_window() {
        let mut recent = RecentEvents::default();
        assert!(recent.passes(1, None) && recent.passes(2, None));
        advance(WINDOW / 2).await;
        assert!(!recent.passes(1, None));
        advance(WINDOW / 2).await;
        assert!(recent.passes(1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_passes() {
        let mut recent = RecentEvents::default();
        assert!(recent.passes(1, Some(7)) && recent.passes(1, Some(7)));
        assert!(!recent.passes(1, Some(8)) && !recent.passes(1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_events_are_remembered() {
        let mut recent = RecentEvents::default();
        assert!((0..200_000).all(|event| recent.passes(event, None)));
        assert_eq!((recent.events.len(), recent.order.len()), (MAX_REMEMBERED_EVENTS, MAX_REMEMBERED_EVENTS));
        assert!(recent.passes(0, None) && !recent.passes(199_999, None));
    }
}
