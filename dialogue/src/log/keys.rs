//! The keys that make a retried trigger harmless.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    identity::is_anonymous,
    store::{KeyScope, scoped},
    wire::Accepted,
};

/// The events accepted under each caller's keys: for [`KEPT_MS`] at least, and at most the newest [`KEPT`]. Keys are in
/// the form in which a store has them, which says whose they are beside the sender's id ([`KeyScope`]).
#[derive(Debug, Default)]
pub(crate) struct Keys {
    accepted: HashMap<Entry, Remembered>,
    /// When each was accepted, oldest first.
    order: VecDeque<(u64, Entry)>,
    /// How many are of callers without a token: while there are none, nothing is looked up for their sake.
    of_newcomers: usize,
}

/// A key with its owner; once for both collections.
type Entry = Arc<(Arc<str>, Box<str>)>;

#[derive(Debug)]
struct Remembered {
    accepted: Accepted,
    /// The sender. A key of callers without a token is known for all of them, and for the id that this one was given.
    from: Arc<str>,
    /// As it stands in `order`.
    when: u64,
}

const KEPT: usize = 10_000;
/// How long a key is remembered at least, in milliseconds.
pub(crate) const KEPT_MS: u64 = 5 * 60 * 1_000;

impl Keys {
    /// The outcome of the event that came first under `key`, if `from` may be retrying it.
    pub(crate) fn seen(&self, from: &Arc<str>, key: &str) -> Option<Accepted> {
        if self.accepted.is_empty() {
            return None;
        }
        let remembered = self.get(&owner(from, key), key).or_else(|| self.seen_as_newcomer(from, key))?;
        Some(Accepted { duplicate: true, ..remembered.accepted.clone() })
    }

    /// Remembers a key, and forgets the oldest. One that is known for this event already keeps its time.
    pub(crate) fn remember(&mut self, from: &Arc<str>, key: &str, accepted: Accepted) {
        let when = accepted.timestamp;
        let owner = owner(from, key);
        if self.get(&owner, key).is_some_and(|known| known.accepted.event_id == accepted.event_id) {
            return;
        }
        let entry = Arc::new((owner, Box::from(key)));
        self.order.push_back((when, Arc::clone(&entry)));
        let replaced = self.accepted.insert(entry, Remembered { accepted, from: Arc::clone(from), when });
        if replaced.is_none() && is_newcomers(key) {
            self.of_newcomers += 1;
        }
        while let Some((oldest, _)) = self.order.front() {
            if self.order.len() <= KEPT && when.saturating_sub(*oldest) <= KEPT_MS {
                break;
            }
            let Some((oldest, entry)) = self.order.pop_front() else { break };
            // A key that was used again since stands further back, too.
            if self.accepted.get(&entry).is_some_and(|known| known.when == oldest) {
                self.accepted.remove(&entry);
                self.of_newcomers -= usize::from(is_newcomers(&entry.1));
            }
        }
    }

    /// Remembers the id that was made for a retry without a token, so that its next one may show the token of that.
    pub(crate) fn remember_for_newcomer(&mut self, from: &Arc<str>, key: &str, seen: &Accepted) {
        if let (KeyScope::Unauthenticated, key) = KeyScope::parse(key) {
            let key = scoped(KeyScope::User, key.into());
            self.remember(from, &key, Accepted { duplicate: false, ..seen.clone() });
        }
    }

    fn get(&self, owner: &Arc<str>, key: &str) -> Option<&Remembered> {
        self.accepted.get(&(Arc::clone(owner), Box::from(key)))
    }

    /// Returns the event accepted under the key before `from` had the token that it shows now.
    fn seen_as_newcomer(&self, from: &Arc<str>, key: &str) -> Option<&Remembered> {
        if self.of_newcomers == 0 || !is_anonymous(from) {
            return None;
        }
        let (KeyScope::User, key) = KeyScope::parse(key) else { return None };
        let key = scoped(KeyScope::Unauthenticated, key.into());
        self.get(&owner(from, &key), &key).filter(|known| known.from == *from)
    }
}

/// The id that a key is remembered under: the sender's, or none for keys that all callers without a token have in common.
pub(crate) fn owner(from: &Arc<str>, key: &str) -> Arc<str> {
    // No user's id is empty.
    if is_newcomers(key) { Arc::default() } else { Arc::clone(from) }
}

fn is_newcomers(key: &str) -> bool {
    matches!(KeyScope::parse(key), (KeyScope::Unauthenticated, _))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(event_id: &str, timestamp: u64) -> Accepted {
        Accepted { seq: Some(1), event_id: event_id.to_owned(), timestamp, duplicate: false }
    }

    fn id(keys: &Keys, from: &str, scope: KeyScope, key: &str) -> Option<String> {
        keys.seen(&from.into(), &scoped(scope, key.into())).map(|seen| seen.event_id)
    }

    #[test]
    fn each_kind_of_caller_has_keys_of_its_own() {
        let mut keys = Keys::default();
        let scopes =
            [("alice", KeyScope::User), ("alice", KeyScope::Server), ("anon-1", KeyScope::Unauthenticated)];
        for (number, (from, scope)) in scopes.into_iter().enumerate() {
            assert_eq!(id(&keys, from, scope, "k"), None);
            keys.remember(&from.into(), &scoped(scope, "k".into()), accepted(&number.to_string(), 1));
        }
        for (number, (from, scope)) in scopes.into_iter().enumerate() {
            assert_eq!(id(&keys, from, scope, "k"), Some(number.to_string()));
        }
        assert_eq!(id(&keys, "bob", KeyScope::Server, "k"), None);
        assert_eq!(id(&keys, "anon-9", KeyScope::User, "k"), None);
        assert_eq!(id(&keys, "anon-2", KeyScope::Unauthenticated, "k").as_deref(), Some("2"));
        assert_eq!(id(&keys, "anon-1", KeyScope::User, "k").as_deref(), Some("2"));
    }

    #[test]
    fn a_key_that_is_used_again_is_kept_as_long_as_any() {
        let mut keys = Keys::default();
        let from: Arc<str> = "alice".into();
        keys.remember(&from, "k", accepted("first", 1));
        keys.remember(&from, "k", accepted("again", KEPT_MS));
        keys.remember(&from, "other", accepted("other", KEPT_MS + 2));
        assert_eq!(keys.seen(&from, "k").map(|seen| seen.event_id).as_deref(), Some("again"));
        keys.remember(&from, "other", accepted("last", 2 * KEPT_MS + 2));
        assert_eq!((keys.seen(&from, "k").is_none(), keys.order.len()), (true, 2));
    }
}
