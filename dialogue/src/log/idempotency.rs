//! Idempotency keys: a retry of a trigger under the same key gets the outcome of the first, and appends nothing.

use std::{collections::VecDeque, sync::Arc};

use crate::{collections::HashMap, identity::is_anonymous, store::KeyScope, wire::Accepted};

/// The events accepted under each caller's keys, for [`KEY_RETENTION_MS`] at least, and at most the newest
/// [`MAX_KEYS`]. Keys are in the form in which a store has them, which includes the kind of their owner beside the
/// sender's id ([`KeyScope`]).
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    accepted: HashMap<KeyEntry, RememberedKey>,
    /// The time at which each was accepted, oldest first.
    order: VecDeque<(u64, KeyEntry)>,
    /// The number of keys of callers without a token: while it is 0, no lookup is made for them.
    newcomer_keys: usize,
}

/// A key with its owner, shared by both collections.
type KeyEntry = Arc<(Arc<str>, Box<str>)>;

#[derive(Debug)]
struct RememberedKey {
    accepted: Accepted,
    /// The sender. A key of callers without a token is valid for all of them, and for the id that this one was given.
    from: Arc<str>,
    /// The time of its entry in `order`.
    when: u64,
}

const MAX_KEYS: usize = 10_000;
/// The time for which a key is remembered at least, in milliseconds.
pub(crate) const KEY_RETENTION_MS: u64 = 5 * 60 * 1_000;

impl IdempotencyKeys {
    /// Returns the outcome of the first event under `key`, if `from` may be retrying it.
    pub(crate) fn find(&self, from: &Arc<str>, key: &str) -> Option<Accepted> {
        if self.accepted.is_empty() {
            return None;
        }
        let remembered = self.get(&owner(from, key), key).or_else(|| self.find_newcomer(from, key))?;
        Some(remembered.accepted.to_duplicate())
    }

    /// Remembers a key, and drops the oldest ones. A key that is known for this event already keeps its time.
    pub(crate) fn remember(&mut self, from: &Arc<str>, key: &str, accepted: Accepted) {
        let when = accepted.timestamp;
        let owner = owner(from, key);
        if self.get(&owner, key).is_some_and(|known| known.accepted.event_id == accepted.event_id) {
            return;
        }
        let entry = Arc::new((owner, Box::from(key)));
        self.order.push_back((when, Arc::clone(&entry)));
        let replaced = self.accepted.insert(entry, RememberedKey { accepted, from: Arc::clone(from), when });
        if replaced.is_none() && is_newcomers(key) {
            self.newcomer_keys += 1;
        }
        while let Some((oldest, _)) = self.order.front() {
            if self.order.len() <= MAX_KEYS && when.saturating_sub(*oldest) <= KEY_RETENTION_MS {
                break;
            }
            let Some((oldest, entry)) = self.order.pop_front() else { break };
            // A key that was used again has a later entry in `order`, too.
            if self.accepted.get(&entry).is_some_and(|known| known.when == oldest) {
                self.accepted.remove(&entry);
                self.newcomer_keys -= usize::from(is_newcomers(&entry.1));
            }
        }
    }

    /// Remembers a key also under the id that a retry without a token was given, so that the next retry may present
    /// that id's token.
    pub(crate) fn remember_for_newcomer(&mut self, from: &Arc<str>, key: &str, find: &Accepted) {
        if let (KeyScope::Unauthenticated, key) = KeyScope::parse(key) {
            let key = KeyScope::User.encode(key.into());
            let mut first = find.clone();
            first.duplicate = false;
            self.remember(from, &key, first);
        }
    }

    fn get(&self, owner: &Arc<str>, key: &str) -> Option<&RememberedKey> {
        self.accepted.get(&(Arc::clone(owner), Box::from(key)))
    }

    /// Returns the event accepted under the key before `from` had the token that it presents now.
    fn find_newcomer(&self, from: &Arc<str>, key: &str) -> Option<&RememberedKey> {
        if self.newcomer_keys == 0 || !is_anonymous(from) {
            return None;
        }
        let (KeyScope::User, key) = KeyScope::parse(key) else { return None };
        let key = KeyScope::Unauthenticated.encode(key.into());
        self.get(&owner(from, &key), &key).filter(|known| known.from == *from)
    }
}

/// Returns the owner of a key: the sender, or an empty id for keys that all callers without a token share.
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
        Accepted::new(Some(1), event_id, timestamp)
    }

    fn id(keys: &IdempotencyKeys, from: &str, scope: KeyScope, key: &str) -> Option<String> {
        keys.find(&from.into(), &scope.encode(key.into())).map(|find| find.event_id)
    }

    #[test]
    fn each_kind_of_caller_has_keys_of_its_own() {
        let mut keys = IdempotencyKeys::default();
        let scopes =
            [("alice", KeyScope::User), ("alice", KeyScope::Server), ("anon-1", KeyScope::Unauthenticated)];
        for (number, (from, scope)) in scopes.into_iter().enumerate() {
            assert_eq!(id(&keys, from, scope, "k"), None);
            keys.remember(&from.into(), &scope.encode("k".into()), accepted(&number.to_string(), 1));
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
        let mut keys = IdempotencyKeys::default();
        let from: Arc<str> = "alice".into();
        keys.remember(&from, "k", accepted("first", 1));
        keys.remember(&from, "k", accepted("again", KEY_RETENTION_MS));
        keys.remember(&from, "other", accepted("other", KEY_RETENTION_MS + 2));
        assert_eq!(keys.find(&from, "k").map(|find| find.event_id).as_deref(), Some("again"));
        keys.remember(&from, "other", accepted("last", 2 * KEY_RETENTION_MS + 2));
        assert_eq!((keys.find(&from, "k").is_none(), keys.order.len()), (true, 2));
    }
}
