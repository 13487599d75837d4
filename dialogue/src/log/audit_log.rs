//! The complete log, for an audit.

use std::sync::Arc;

use super::{Log, Record, to_usize};

impl Log {
    /// Returns up to `limit` events after `seq` that are in memory, oldest first, including those that a newer one of
    /// their key replaced.
    pub(crate) fn chain(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        let skip = to_usize((seq + 1).saturating_sub(self.first_in_memory()));
        self.records.iter().skip(skip).take(limit).cloned().collect()
    }
}
