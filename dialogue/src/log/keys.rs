//! The keys that make a retried trigger harmless.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::wire::Accepted;

/// What was accepted under which key, of each user: for [`KEPT_MS`] at least, and at most the newest [`KEPT`].
#[derive(Debug, Default)]
pub(crate) struct Keys {
    accepted: HashMap<Entry, Accepted>,
    /// When each was accepted, oldest first.
    order: VecDeque<(u64, Entry)>,
}

/// A user and the key, once for both collections.
type Entry = Arc<(Arc<str>, Box<str>)>;

const KEPT: usize = 10_000;
/// How long a key is remembered at least, in milliseconds.
pub(crate) const KEPT_MS: u64 = 5 * 60 * 1_000;

impl Keys {
    /// What `user` was told when `key` came first.
    pub(crate) fn seen(&self, user: &Arc<str>, key: &str) -> Option<Accepted> {
        if self.accepted.is_empty() {
            return None;
        }
        let accepted = self.accepted.get(&(Arc::clone(user), Box::from(key)))?;
        Some(Accepted { duplicate: true, ..accepted.clone() })
    }

    /// Remembers it, and forgets the oldest.
    pub(crate) fn remember(&mut self, user: &Arc<str>, key: &str, accepted: Accepted) {
        let now = accepted.timestamp;
        let entry = Arc::new((Arc::clone(user), Box::from(key)));
        self.order.push_back((now, Arc::clone(&entry)));
        self.accepted.insert(entry, accepted);
        while let Some((when, _)) = self.order.front() {
            if self.order.len() <= KEPT && now.saturating_sub(*when) <= KEPT_MS {
                break;
            }
            if let Some((_, entry)) = self.order.pop_front() {
                self.accepted.remove(&entry);
            }
        }
    }
}
