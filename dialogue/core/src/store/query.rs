//! The parameters and results of a [`Store`](super::Store)'s operations.

use std::sync::Arc;

use super::{KeyScope, StoredEvent};
use crate::wire::Id;

/// Events to append to the log of one room.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Append {
    /// The id of the room instance.
    pub room_id: Arc<str>,
    /// The epoch of the log: the name of one unbroken history. It stays the same until the log is removed.
    pub epoch: Arc<str>,
    /// The events, at least one, with consecutive numbers.
    pub events: Vec<StoredEvent>,
}

/// The part of a room's log to delete, from its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trim {
    /// The epoch of the log. A log of another epoch, which has replaced it, isn't trimmed.
    pub epoch: Arc<str>,
    /// The number of the first event to keep. Events before it are deleted, except the newest of the log.
    pub first: u64,
    /// The time of the first key to keep, in Unix milliseconds. Keys from before it are deleted.
    pub keys_since: u64,
}

/// The epoch and the ends of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The epoch of the log.
    pub epoch: Arc<str>,
    /// The number of the oldest event in the log.
    pub first: u64,
    /// The newest event.
    pub last: StoredEvent,
}

/// A selection of a room's events, read page by page.
///
/// ```
/// use dialogue::store::{Order, Query};
///
/// // The newest 50 events before number 1,000.
/// let mut page = Query::new(Order::NewestFirst, 50);
/// page.before = Some(1_000);
/// assert!(page.matches(999, 1_700_000_000_000, "message") && !page.matches(1_000, 1_700_000_000_000, "message"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The order of the events, which is also the direction of paging.
    pub order: Order,
    /// The maximum number of events on a page.
    pub limit: usize,
    /// The size at which a page ends, in bytes of payloads. The page includes the event that reaches it.
    pub max_bytes: usize,
    /// Selects events with a number greater than this.
    pub after: Option<u64>,
    /// Selects events with a number less than this.
    pub before: Option<u64>,
    /// Selects events at or after this time, in Unix milliseconds.
    pub since: Option<u64>,
    /// Selects events before this time, in Unix milliseconds.
    pub until: Option<u64>,
    /// Selects events of these names. An empty list selects none.
    pub events: Option<Vec<Arc<str>>>,
}

/// The order of a page's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The order of the log, by ascending numbers.
    OldestFirst,
    /// The reverse order of the log, by descending numbers.
    NewestFirst,
}

/// One page of a log's events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Page {
    /// The events, in the order of the query.
    pub events: Vec<StoredEvent>,
    /// The cursor of the next page: its [`Query::after`], or its [`Query::before`] if the newest come first. `None` on
    /// the last page.
    pub next: Option<u64>,
}

/// An idempotency key under which an event was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredKey {
    /// The id of the user that the event is from. Keys of different users are independent, unless the key's scope says
    /// otherwise.
    pub from: Arc<str>,
    /// The key, in the form that includes its [`KeyScope`].
    pub key: Arc<str>,
    /// The number of the event.
    pub seq: u64,
    /// The id of the event.
    pub event_id: Id,
    /// The time of the event, in Unix milliseconds.
    pub timestamp: u64,
}

impl Append {
    /// Returns an append of `events` to the log of a room.
    pub fn new(room_id: Arc<str>, epoch: Arc<str>, events: Vec<StoredEvent>) -> Self {
        Append { room_id, epoch, events }
    }
}

impl Trim {
    /// Returns a trim of the events before number `first` and of the keys from before `keys_since` (Unix milliseconds).
    pub fn new(epoch: Arc<str>, first: u64, keys_since: u64) -> Self {
        Trim { epoch, first, keys_since }
    }
}

impl Head {
    /// Returns the head of a log that holds the events from number `first` to `last`.
    pub fn new(epoch: Arc<str>, first: u64, last: StoredEvent) -> Self {
        Head { epoch, first, last }
    }
}

impl Query {
    /// Returns a query for all events, in pages of at most `limit` events and about 256 KiB.
    pub fn new(order: Order, limit: usize) -> Self {
        Query {
            order,
            limit,
            max_bytes: 256 << 10,
            after: None,
            before: None,
            since: None,
            until: None,
            events: None,
        }
    }

    /// Returns whether the query selects an event.
    pub fn matches(&self, seq: u64, timestamp: u64, event: &str) -> bool {
        self.after.is_none_or(|after| seq > after)
            && self.before.is_none_or(|before| seq < before)
            && self.since.is_none_or(|since| timestamp >= since)
            && self.until.is_none_or(|until| timestamp < until)
            && self.events.as_ref().is_none_or(|events| events.iter().any(|name| **name == *event))
    }
}

impl Page {
    /// Returns a page with the cursor of the next one.
    pub fn new(events: Vec<StoredEvent>, next: Option<u64>) -> Self {
        Page { events, next }
    }
}

impl StoredKey {
    /// Returns the key under which a user's event was appended; `seq`, `event_id` and `timestamp` are the event's.
    pub fn new(from: Arc<str>, key: Arc<str>, seq: u64, event_id: Id, timestamp: u64) -> Self {
        StoredKey { from, key, seq, event_id, timestamp }
    }

    /// Returns the key of an event, or `None` if the event has none.
    pub fn of(event: &StoredEvent) -> Option<Self> {
        Some(StoredKey {
            from: Arc::clone(&event.from),
            key: Arc::clone(event.key.as_ref()?),
            seq: event.seq,
            event_id: event.event_id,
            timestamp: event.timestamp,
        })
    }

    /// Returns whether a new event is a retry of the one that was appended under this key. It is if both have the same
    /// key and the same user, or the same key of the scope [`KeyScope::Unauthenticated`]. It also is if the first
    /// attempt was made without a token, and the retry shows the token of the user id that was made for the first.
    pub fn is_retried_by(&self, event: &StoredEvent) -> bool {
        let Some(key) = event.key.as_deref() else { return false };
        if *key != *self.key {
            let (new, stored) = (KeyScope::parse(key), KeyScope::parse(&self.key));
            return new == (KeyScope::User, stored.1)
                && stored.0 == KeyScope::Unauthenticated
                && self.from == event.from;
        }
        self.from == event.from || KeyScope::parse(key).0 == KeyScope::Unauthenticated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(from: &str, scope: KeyScope) -> StoredEvent {
        StoredEvent {
            seq: 1,
            event_id: Id::fresh(),
            timestamp: 1,
            event: "message".into(),
            from: from.into(),
            from_server: scope == KeyScope::Server,
            data: "{}".into(),
            meta: None,
            conflation_key: None,
            key: Some(scope.encode("k".into()).into()),
            offset: 0,
            digest: None,
        }
    }

    #[test]
    fn a_retry_comes_from_the_same_caller() {
        use KeyScope::{Server, Unauthenticated, User};

        let retried = |first: (&str, KeyScope), again: (&str, KeyScope)| {
            StoredKey::of(&event(first.0, first.1))
                .is_some_and(|key| key.is_retried_by(&event(again.0, again.1)))
        };
        assert!(retried(("alice", User), ("alice", User)) && retried(("alice", Server), ("alice", Server)));
        assert!(!retried(("alice", User), ("alice", Server)) && !retried(("alice", Server), ("alice", User)));
        assert!(!retried(("alice", User), ("bob", User)) && !retried(("alice", Server), ("bob", Server)));
        assert!(retried(("anon-1", Unauthenticated), ("anon-2", Unauthenticated)));
        assert!(
            retried(("anon-1", Unauthenticated), ("anon-1", User))
                && !retried(("anon-1", Unauthenticated), ("anon-2", User))
        );
        assert!(!retried(("anon-1", User), ("anon-2", Unauthenticated)));
    }
}
