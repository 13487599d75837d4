//! The newest event of each conflation key.

use crate::{collections::HashMap, wire::EventIndex};

/// The `seq` of the newest event of each conflation key: of the records in memory and, with a store, of older events as
/// long as there are few keys.
#[derive(Debug, Default)]
pub(super) struct LatestKeys {
    /// A map per kind of event, so that a key is looked up without a copy.
    kinds: HashMap<EventIndex, HashMap<Box<str>, u64>>,
    keys: usize,
    /// Bytes of the keys.
    bytes: usize,
}

/// Bounds on the keys, and on their bytes; beyond, the keys of events that only the store has are dropped.
const MAX_KEYS: usize = 65_536;
const MAX_KEY_BYTES: usize = 1 << 20;

impl LatestKeys {
    /// Records a new event with a key.
    pub(super) fn record(&mut self, event: EventIndex, key: &str, seq: u64) {
        let keys = self.kinds.entry(event).or_default();
        if let Some(newest) = keys.get_mut(key) {
            *newest = seq;
            return;
        }
        keys.insert(key.into(), seq);
        self.keys += 1;
        self.bytes += key.len();
    }

    /// Drops the key of an event that is no longer retained.
    pub(super) fn forget(&mut self, event: EventIndex, key: &str, seq: u64) {
        let Some(keys) = self.kinds.get_mut(&event) else { return };
        if keys.get(key) == Some(&seq) {
            keys.remove(key);
            self.keys -= 1;
            self.bytes -= key.len();
        }
    }

    /// Returns the `seq` of the newest event of a key, as far as it is known.
    pub(super) fn latest_seq(&self, event: EventIndex, key: &str) -> Option<u64> {
        self.kinds.get(&event)?.get(key).copied()
    }

    /// Drops the keys of events before `first_in_memory` if the bounds are exceeded.
    pub(super) fn bound(&mut self, first_in_memory: u64) {
        if self.keys <= MAX_KEYS && self.bytes <= MAX_KEY_BYTES {
            return;
        }
        (self.keys, self.bytes) = (0, 0);
        for keys in self.kinds.values_mut() {
            keys.retain(|_, seq| *seq >= first_in_memory);
            keys.shrink_to_fit();
            self.keys += keys.len();
            self.bytes += keys.keys().map(|key| key.len()).sum::<usize>();
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.keys, self.bytes)
    }
}
