//! A bounded cache of the metadata of recently used logs, so that an append usually reads nothing from the engine.

use std::{collections::HashMap, sync::Arc};

use super::rows::LogMeta;

/// Log metadata by room id, in two maps that approximate least-recently-used eviction: inserts go into the young map;
/// when it is full, the old map is dropped and the young one takes its place.
#[derive(Default)]
pub(super) struct LogCache {
    young: HashMap<Arc<str>, LogMeta>,
    old: HashMap<Arc<str>, LogMeta>,
}

/// The maximum number of entries in each of the two maps, of some 200 bytes each.
const MAX_YOUNG_ENTRIES: usize = 32_768;

impl LogCache {
    pub(super) fn find(&self, room_id: &str) -> Option<&LogMeta> {
        self.young.get(room_id).or_else(|| self.old.get(room_id))
    }

    pub(super) fn insert(&mut self, room_id: &Arc<str>, log: LogMeta) {
        if let Some(known) = self.young.get_mut(room_id) {
            *known = log;
            return;
        }
        if self.young.len() >= MAX_YOUNG_ENTRIES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(Arc::clone(room_id), log);
    }

    pub(super) fn remove(&mut self, room_id: &str) {
        self.young.remove(room_id);
        self.old.remove(room_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(last: u64) -> LogMeta {
        LogMeta { id: 1, epoch: "e".into(), first: 1, first_key: 1, last, last_keyed: 0 }
    }

    fn last(log_cache: &LogCache, room_id: &str) -> Option<u64> {
        log_cache.find(room_id).map(|log| log.last)
    }

    #[test]
    fn the_newest_entry_is_found() {
        let mut log_cache = LogCache::default();
        log_cache.insert(&"chat".into(), log(1));
        (0..MAX_YOUNG_ENTRIES).for_each(|room| log_cache.insert(&room.to_string().into(), log(7)));
        assert_eq!(last(&log_cache, "chat"), Some(1));
        log_cache.insert(&"chat".into(), log(2));
        assert_eq!(last(&log_cache, "chat"), Some(2));
        log_cache.remove("chat");
        assert_eq!(last(&log_cache, "chat"), None);
    }

    #[test]
    fn an_entry_that_is_long_unused_is_evicted() {
        let mut log_cache = LogCache::default();
        log_cache.insert(&"chat".into(), log(1));
        (0..2 * MAX_YOUNG_ENTRIES).for_each(|room| log_cache.insert(&room.to_string().into(), log(7)));
        assert_eq!(last(&log_cache, "chat"), None);
        assert!(log_cache.young.len() + log_cache.old.len() <= 2 * MAX_YOUNG_ENTRIES);
    }
}
