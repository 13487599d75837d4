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

/// Blocks an event that the same user sent to the same room just now, word for word: a double click, or spam.
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
        let (Some(_), Ok(json)) = (&cx.subject, serde_json::to_string(&event)) else {
            return next.run(cx, event).await;
        };
        // By the user, whom the log knows the key of: others may come from the same address, and say the same.
        let said = self.hasher.hash_one((cx.from(), cx.room_id(), E::NAME, json));
        let key = cx.idempotency_key().map(|key| self.hasher.hash_one((cx.from(), key)));
        let noted = match self.said.lock().note(said, key, self.within) {
            Note::New(when) => Some(Noted { dedup: self, event: said, when }),
            Note::Retry => None,
            Note::Again => return Err(Refusal::blocked("you just said that")),
        };
        let flow = next.run(cx, event).await;
        if let (Some(noted), Ok(_)) = (noted, &flow) {
            noted.keep();
        }
        flow
    }
}

/// What was noted, until it is sure that it is said: also if nobody waits for that any more.
struct Noted<'a> {
    dedup: &'a Dedup,
    event: u64,
    when: Instant,
}

impl Noted<'_> {
    fn keep(self) {
        // It holds nothing but a borrow.
        std::mem::forget(self);
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut said = self.dedup.said.lock();
        if said.events.get(&self.event).is_some_and(|(when, _)| *when == self.when) {
            said.events.remove(&self.event);
        }
    }
}

/// What there is to say of an event that is said.
#[derive(Debug, PartialEq)]
enum Note {
    New(Instant),
    Retry,
    Again,
}

impl Said {
    /// Notes what is said.
    fn note(&mut self, event: u64, key: Option<u64>, within: Duration) -> Note {
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
            return if key.is_some() && *before == key { Note::Retry } else { Note::Again };
        }
        self.events.insert(event, (now, key));
        self.order.push_back((event, now));
        Note::New(now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);

    impl Said {
        fn lets(&mut self, event: u64, key: Option<u64>) -> bool {
            self.note(event, key, WITHIN) != Note::Again
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_may_be_said_again_later() {
        let mut said = Said::default();
        assert!(said.lets(1, None) && said.lets(2, None));
        advance(WITHIN / 2).await;
        assert!(!said.lets(1, None));
        advance(WITHIN / 2).await;
        assert!(said.lets(1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_is_let_through() {
        let mut said = Said::default();
        assert!(said.lets(1, Some(7)) && said.lets(1, Some(7)));
        assert!(!said.lets(1, Some(8)) && !said.lets(1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_are_remembered() {
        let mut said = Said::default();
        assert!((0..200_000).all(|event| said.lets(event, None)));
        assert_eq!((said.events.len(), said.order.len()), (MOST, MOST));
        assert!(said.lets(0, None) && !said.lets(199_999, None));
    }
}
