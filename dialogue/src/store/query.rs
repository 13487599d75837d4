//! What a store is asked, and what it answers.

use std::sync::Arc;

use super::{KeyScope, StoredEvent};
use crate::wire::Id;

/// Events for the log of one room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Append {
    /// Whose.
    pub room_id: Arc<str>,
    /// The log's incarnation: the same as long as the log isn't removed.
    pub epoch: Arc<str>,
    /// At least one; their numbers follow each other.
    pub events: Vec<StoredEvent>,
}

/// What goes from the beginning of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trim {
    /// The log's incarnation: one that took its place meanwhile keeps everything.
    pub epoch: Arc<str>,
    /// Events before this number go, but for the newest of the log.
    pub first: u64,
    /// Keys from before this time go (Unix milliseconds).
    pub keys_since: u64,
}

/// Where a log begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The log's incarnation.
    pub epoch: Arc<str>,
    /// The number of the oldest event held.
    pub first: u64,
    /// The newest event.
    pub last: StoredEvent,
}

/// Which of a room's events to read.
///
/// ```
/// use dialogue::store::{Order, Query};
///
/// // The newest 50 before number 1,000.
/// let mut page = Query::new(Order::NewestFirst, 50);
/// page.before = Some(1_000);
/// assert!(page.admits(999, 1_700_000_000_000, "message") && !page.admits(1_000, 1_700_000_000_000, "message"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// In which direction.
    pub order: Order,
    /// At most so many.
    pub limit: usize,
    /// About so many bytes of payloads: a page ends with the event that goes past it.
    pub bytes: usize,
    /// Only events after this number.
    pub after: Option<u64>,
    /// Only events before this number.
    pub before: Option<u64>,
    /// Only events from this time on: Unix milliseconds.
    pub since: Option<u64>,
    /// Only events from before this time.
    pub until: Option<u64>,
    /// Only events of these names.
    pub events: Option<Vec<Arc<str>>>,
}

/// The direction of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// As they came.
    OldestFirst,
    /// The newest first.
    NewestFirst,
}

/// Some events of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Page {
    /// In the order that was asked for.
    pub events: Vec<StoredEvent>,
    /// If there may be more: what [`Query::after`] (or [`Query::before`], when the newest come first) of the next page is.
    pub next: Option<u64>,
}

/// A key under which an event was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredKey {
    /// The user that the event is from: a key is that user's own, unless it says otherwise.
    pub from: Arc<str>,
    /// The key, in a form that says whose it is ([`KeyScope`]).
    pub key: Arc<str>,
    /// The number of the event.
    pub seq: u64,
    /// Its id.
    pub event_id: Id,
    /// Its time, in Unix milliseconds.
    pub timestamp: u64,
}

impl Append {
    /// Events for the log of a room.
    pub fn new(room_id: Arc<str>, epoch: Arc<str>, events: Vec<StoredEvent>) -> Self {
        Append { room_id, epoch, events }
    }
}

impl Trim {
    /// What is before event `first`, and keys from before `keys_since` (Unix milliseconds).
    pub fn new(epoch: Arc<str>, first: u64, keys_since: u64) -> Self {
        Trim { epoch, first, keys_since }
    }
}

impl Head {
    /// A log that holds the events from `first` to `last`.
    pub fn new(epoch: Arc<str>, first: u64, last: StoredEvent) -> Self {
        Head { epoch, first, last }
    }
}

impl Query {
    /// All events, in pages of `limit` at most and of about 256 KiB.
    pub fn new(order: Order, limit: usize) -> Self {
        Query {
            order,
            limit,
            bytes: 256 << 10,
            after: None,
            before: None,
            since: None,
            until: None,
            events: None,
        }
    }

    /// Whether an event is within all bounds.
    pub fn admits(&self, seq: u64, timestamp: u64, event: &str) -> bool {
        self.after.is_none_or(|after| seq > after)
            && self.before.is_none_or(|before| seq < before)
            && self.since.is_none_or(|since| timestamp >= since)
            && self.until.is_none_or(|until| timestamp < until)
            && self.events.as_ref().is_none_or(|events| events.iter().any(|name| **name == *event))
    }
}

impl Page {
    /// These events, and where to go on.
    pub fn new(events: Vec<StoredEvent>, next: Option<u64>) -> Self {
        Page { events, next }
    }
}

impl StoredKey {
    /// The key that a user used for an event, of which are `seq`, `event_id` and `timestamp`.
    pub fn new(from: Arc<str>, key: Arc<str>, seq: u64, event_id: Id, timestamp: u64) -> Self {
        StoredKey { from, key, seq, event_id, timestamp }
    }

    /// The key of an event, if it has one.
    pub fn of(event: &StoredEvent) -> Option<Self> {
        Some(StoredKey {
            from: Arc::clone(&event.from),
            key: Arc::clone(event.key.as_ref()?),
            seq: event.seq,
            event_id: event.event_id,
            timestamp: event.timestamp,
        })
    }

    /// Returns whether an event that comes with a key is a retry of the one that came with this.
    pub fn is_retried_by(&self, event: &StoredEvent) -> bool {
        let Some(key) = event.key.as_deref() else { return false };
        if *key != *self.key {
            let (own, before) = (KeyScope::read(key), KeyScope::read(&self.key));
            // The caller shows the token of the id that it was given before.
            return own == (KeyScope::User, before.1)
                && before.0 == KeyScope::Newcomer
                && self.from == event.from;
        }
        self.from == event.from || KeyScope::read(key).0 == KeyScope::Newcomer
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{KeyScope, scoped},
        *,
    };

    fn event(from: &str, scope: KeyScope) -> StoredEvent {
        StoredEvent {
            seq: 1,
            event_id: Id::fresh(),
            timestamp: 1,
            event: "message".into(),
            from: from.into(),
            server: scope == KeyScope::Server,
            data: "{}".into(),
            meta: None,
            conflated: None,
            key: Some(scoped(scope, "k".into()).into()),
            offset: 0,
            digest: None,
        }
    }

    #[test]
    fn a_retry_is_of_the_same_caller() {
        use KeyScope::{Newcomer, Server, User};

        let retried = |first: (&str, KeyScope), again: (&str, KeyScope)| {
            StoredKey::of(&event(first.0, first.1))
                .is_some_and(|key| key.is_retried_by(&event(again.0, again.1)))
        };
        assert!(retried(("alice", User), ("alice", User)) && retried(("alice", Server), ("alice", Server)));
        assert!(!retried(("alice", User), ("alice", Server)) && !retried(("alice", Server), ("alice", User)));
        assert!(!retried(("alice", User), ("bob", User)) && !retried(("alice", Server), ("bob", Server)));
        assert!(retried(("anon-1", Newcomer), ("anon-2", Newcomer)));
        assert!(
            retried(("anon-1", Newcomer), ("anon-1", User))
                && !retried(("anon-1", Newcomer), ("anon-2", User))
        );
        assert!(!retried(("anon-1", User), ("anon-2", Newcomer)));
    }
}
