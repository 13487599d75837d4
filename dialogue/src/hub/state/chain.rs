//! The log as it was said.

use std::sync::Arc;

use super::State;
use crate::{audit::Anchor, log::Record};

impl State {
    /// The log's epoch, and where it ends.
    pub(in super::super) fn chain_end(&self) -> (Arc<str>, Anchor) {
        let end = self.log.end();
        let digest = end.digest.as_deref().copied().unwrap_or_default();
        (Arc::clone(self.log.epoch()), Anchor { seq: end.newest.map_or(0, |(seq, _)| seq), digest })
    }

    /// Events in memory after number `seq`.
    pub(in super::super) fn chain(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        self.log.chain(seq, limit)
    }
}
