//! Against saying the same thing twice.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Cx, Flow, Middleware, Next};
use crate::{Event, Refusal, Room};

/// Blocks an event that the same client sent to the same room just now, word for word: a double click, or spam.
///
/// No retry is taken for one: what comes with the idempotency key that it came with before, passes, and the log says that
/// it was there. Server code and server keys pass. It remembers the newest 100,000 events, 48 bytes each: a client that
/// sends more in the time may repeat itself, and so may others then.
///
/// ```
/// use std::time::Duration;
///
/// use dialogue::Dedup;
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
    within: Duration,
    hasher: RandomState,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// When, and with which idempotency key.
    events: HashMap<u64, (Instant, Option<u64>)>,
    order: VecDeque<(u64, Instant)>,
}

/// How many events are remembered.
const MOST: usize = 100_000;

impl Dedup {
    /// For so long after it was said.
    pub fn within(time: Duration) -> Self {
        Dedup { within: time, hasher: RandomState::new(), said: Mutex::default() }
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Dedup {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let (Some(subject), Ok(json)) = (&cx.subject, serde_json::to_string(&event)) else {
            return next.run(cx, event).await;
        };
        let said = self.hasher.hash_one((subject, cx.room_id(), E::NAME, json));
        let key = cx.idempotency_key().map(|key| self.hasher.hash_one(key));
        if !self.said.lock().note(said, key, self.within) {
            return Err(Refusal::blocked("you just said that"));
        }
        let flow = next.run(cx, event).await;
        if flow.is_err() {
            // It wasn't said after all.
            self.said.lock().events.remove(&said);
        }
        flow
    }
}

impl Said {
    /// Notes what is said; yields whether it is new, or a retry.
    fn note(&mut self, event: u64, key: Option<u64>, within: Duration) -> bool {
        let now = Instant::now();
        while let Some((oldest, when)) = self.order.front()
            && (self.order.len() >= MOST || now.duration_since(*when) >= within)
        {
            if self.events.get(oldest).is_some_and(|(noted, _)| noted == when) {
                self.events.remove(oldest);
            }
            self.order.pop_front();
        }
        if let Some((_, before)) = self.events.get(&event) {
            return key.is_some() && *before == key;
        }
        self.events.insert(event, (now, key));
        self.order.push_back((event, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn what_was_said_may_be_said_again_later() {
        let mut said = Said::default();
        assert!(said.note(1, None, WITHIN) && said.note(2, None, WITHIN));
        advance(WITHIN / 2).await;
        assert!(!said.note(1, None, WITHIN));
        advance(WITHIN / 2).await;
        assert!(said.note(1, None, WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_is_let_through() {
        let mut said = Said::default();
        assert!(said.note(1, Some(7), WITHIN) && said.note(1, Some(7), WITHIN));
        assert!(!said.note(1, Some(8), WITHIN) && !said.note(1, None, WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_are_remembered() {
        let mut said = Said::default();
        assert!((0..200_000).all(|event| said.note(event, None, WITHIN)));
        assert_eq!((said.events.len(), said.order.len()), (MOST, MOST));
        assert!(said.note(0, None, WITHIN) && !said.note(199_999, None, WITHIN));
    }
}
