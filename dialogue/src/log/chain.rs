//! A log as it was said, for an audit.

use std::sync::Arc;

use super::{Log, Record, to_usize};

impl Log {
    /// Up to `limit` events after `seq` that are in memory, oldest first: all of them, whatever took their place since.
    pub(crate) fn chain(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        let skip = to_usize((seq + 1).saturating_sub(self.tail()));
        self.records.iter().skip(skip).take(limit).cloned().collect()
    }
}
