//! Comparison of the log in memory with its end in the store.

use std::sync::Arc;

use super::RoomCore;
use crate::{log::LogHead, store::Head};

/// The end of a log in the store, compared with memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::live) enum StoreHead {
    /// The same as in memory.
    Same,
    /// Further events follow.
    Ahead,
    /// Further events follow, if the store has the newest event of memory at its number.
    AheadOf { seq: u64 },
    /// The store has the log no more.
    Missing,
    /// The store has the log as it was before: it lost events, and gives their numbers again.
    SetBack,
    /// The store has another log.
    Replaced,
    /// Memory has no event yet, and another node began the log, with this epoch.
    New(Arc<str>),
}

impl RoomCore {
    /// Compares the log with its end in the store.
    pub(in crate::live) fn compare_head(&self, found: Option<&Head>) -> StoreHead {
        let LogHead { seq, event_id } = self.log.head();
        match found {
            None if seq == 0 => StoreHead::Same,
            None => StoreHead::Missing,
            // An empty log adopts the epoch of the node that appended first.
            Some(found) if found.epoch != self.store_epoch && seq == 0 => {
                StoreHead::New(Arc::clone(&found.epoch))
            }
            Some(found) if found.epoch != self.store_epoch => StoreHead::Replaced,
            Some(Head { last, .. }) if last.seq < seq => StoreHead::SetBack,
            Some(Head { last, .. }) if last.seq == seq && last.event_id.as_str() == event_id => {
                StoreHead::Same
            }
            Some(Head { last, .. }) if last.seq == seq => StoreHead::SetBack,
            Some(_) if seq == 0 => StoreHead::Ahead,
            Some(_) => StoreHead::AheadOf { seq },
        }
    }
}
