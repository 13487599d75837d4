//! What the live rooms of a node share, and their registry with them.

mod deletions;
mod new_log_epoch;
mod trim_queue;

use std::sync::Arc;

use tokio::runtime::Handle;

use deletions::Deletions;
use new_log_epoch::NewLogEpoch;
use trim_queue::TrimQueue;

use super::{archive::Archive, scan_backoff::ScanBackoff};

/// What the live rooms of a node share. It knows no room.
pub(super) struct RoomContext {
    /// The rooms' part in the store, if there is one.
    pub(super) archive: Option<Arc<Archive>>,
    /// The runtime of the rooms' own tasks.
    pub(super) runtime: Handle,
    /// The epoch of logs created from now on.
    pub(super) epoch: NewLogEpoch,
    /// The rooms that were deleted recently.
    pub(super) deletions: Deletions,
    /// The rooms whose logs are to be trimmed in the store.
    pub(super) trim_queue: TrimQueue,
    /// The backoff of full scans for instances that may leave memory.
    pub(super) scans: ScanBackoff,
}

impl RoomContext {
    pub(super) fn new(archive: Option<Arc<Archive>>, runtime: Handle) -> Arc<Self> {
        Arc::new(RoomContext {
            epoch: NewLogEpoch::new(archive.clone()),
            deletions: Deletions::new(archive.clone()),
            archive,
            runtime,
            trim_queue: TrimQueue::default(),
            scans: ScanBackoff::default(),
        })
    }
}
