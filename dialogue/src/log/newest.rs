//! The newest event of each key of conflated events.

use std::collections::HashMap;

/// The number of the newest event of each conflated key: of the records that are in memory, and, beside a store, of older
/// events as long as there are few.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// A map for each kind of event, so that a key is looked up without a copy.
    kinds: HashMap<u8, HashMap<Box<str>, u64>>,
    keys: usize,
    /// Bytes of those.
    bytes: usize,
}

/// Keys that are known of events which only the store has, and their bytes: beyond, those of older events are forgotten.
const KEYS: usize = 65_536;
const BYTES: usize = 1 << 20;

impl Newest {
    /// An event with that key came.
    pub(super) fn note(&mut self, event: u8, key: &str, seq: u64) {
        let keys = self.kinds.entry(event).or_default();
        if let Some(newest) = keys.get_mut(key) {
            *newest = seq;
            return;
        }
        keys.insert(key.into(), seq);
        self.keys += 1;
        self.bytes += key.len();
    }

    /// An event is no longer held.
    pub(super) fn forget(&mut self, event: u8, key: &str, seq: u64) {
        let Some(keys) = self.kinds.get_mut(&event) else { return };
        if keys.get(key) == Some(&seq) {
            keys.remove(key);
            self.keys -= 1;
            self.bytes -= key.len();
        }
    }

    /// The number of the newest event of a key, as far as it is known.
    pub(super) fn of(&self, event: u8, key: &str) -> Option<u64> {
        self.kinds.get(&event)?.get(key).copied()
    }

    /// Forgets the keys of events before `tail` if there are too many, or they are too large.
    pub(super) fn bound(&mut self, tail: u64) {
        if self.keys <= KEYS && self.bytes <= BYTES {
            return;
        }
        (self.keys, self.bytes) = (0, 0);
        for keys in self.kinds.values_mut() {
            keys.retain(|_, seq| *seq >= tail);
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
