//! The complete log of a room, for an audit.

use std::sync::Arc;

use super::RoomCore;
use crate::{audit::Anchor, log::Record};

impl RoomCore {
    /// Returns the log's epoch, and the anchor at its end.
    pub(in crate::live) fn chain_end(&self) -> (Arc<str>, Anchor) {
        let end = self.log.end();
        let digest = end.digest.as_deref().copied().unwrap_or_default();
        (Arc::clone(self.log.epoch()), Anchor { seq: end.seq, digest })
    }

    /// Returns up to `limit` events in memory after `seq`.
    pub(in crate::live) fn chain(&self, seq: u64, limit: usize) -> Vec<Arc<Record>> {
        self.log.chain(seq, limit)
    }
}
