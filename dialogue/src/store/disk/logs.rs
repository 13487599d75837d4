//! What is known of the logs that were appended to last, so that an append reads nothing.

use std::{collections::HashMap, sync::Arc};

use super::rows::Log;

/// Logs in two generations: when the young ones are many, the old ones go, and the young become the old.
#[derive(Default)]
pub(super) struct Logs {
    young: HashMap<Arc<str>, Log>,
    old: HashMap<Arc<str>, Log>,
}

/// Logs of a generation: some 200 bytes each.
const GENERATION: usize = 32_768;

impl Logs {
    pub(super) fn find(&self, room_id: &str) -> Option<&Log> {
        self.young.get(room_id).or_else(|| self.old.get(room_id))
    }

    pub(super) fn insert(&mut self, room_id: &Arc<str>, log: Log) {
        if let Some(known) = self.young.get_mut(room_id) {
            *known = log;
            return;
        }
        if self.young.len() >= GENERATION {
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

    fn log(last: u64) -> Log {
        Log { id: 1, epoch: "e".into(), first: 1, keys: 1, last, keyed: 0 }
    }

    fn last(logs: &Logs, room_id: &str) -> Option<u64> {
        logs.find(room_id).map(|log| log.last)
    }

    #[test]
    fn the_newest_is_found() {
        let mut logs = Logs::default();
        logs.insert(&"chat".into(), log(1));
        (0..GENERATION).for_each(|room| logs.insert(&room.to_string().into(), log(7)));
        assert_eq!(last(&logs, "chat"), Some(1));
        logs.insert(&"chat".into(), log(2));
        assert_eq!(last(&logs, "chat"), Some(2));
        logs.remove("chat");
        assert_eq!(last(&logs, "chat"), None);
    }

    #[test]
    fn what_is_long_unused_goes() {
        let mut logs = Logs::default();
        logs.insert(&"chat".into(), log(1));
        (0..2 * GENERATION).for_each(|room| logs.insert(&room.to_string().into(), log(7)));
        assert_eq!(last(&logs, "chat"), None);
        assert!(logs.young.len() + logs.old.len() <= 2 * GENERATION);
    }
}
