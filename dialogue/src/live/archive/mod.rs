//! The archive: the room instances' part in the store, namely their logs (through the [`Journal`]), the catalog of
//! rooms, saved state, and cached pages of old events.

mod candidates;
mod catalog;
mod eviction;
mod last_use;
mod load;
mod page_cache;
mod replay_pages;
mod trim;

use std::sync::{Arc, atomic::AtomicUsize};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

pub(super) use eviction::EvictionOutcome;

use candidates::Eviction;
use page_cache::PageCache;

use crate::{
    cluster::{Cluster, backplane::AnyBackplane},
    log::Journal,
    store::AnyStore,
};

/// The store as rooms use it.
pub(crate) struct Archive {
    pub(crate) journal: Arc<Journal>,
    /// The other nodes; `None` without a backplane.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pages: PageCache,
    /// Limits the pages of history read at the same time.
    history_reads: Semaphore,
    /// Limits the pages of replays read at the same time.
    replay_reads: Semaphore,
    /// The number of rooms in the catalog.
    total_rooms: AtomicUsize,
    /// The time of the last full count.
    counted: Mutex<Option<Instant>>,
    /// The number of rooms that were created explicitly, by a user who isn't anonymous or by the application.
    permanent_rooms: AtomicUsize,
    eviction: Eviction,
}

/// Pages of history read from the store at the same time: events are not to wait for them.
const MAX_CONCURRENT_READS: usize = 4;
/// Pages of replays read at the same time; clients that come back to one position share a page.
const MAX_CONCURRENT_REPLAY_READS: usize = 8;

impl Archive {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        Archive::of(Journal::new(store, runtime), None)
    }

    /// Creates the archive in a store that all nodes share.
    pub(crate) fn shared(
        backplane: Arc<dyn AnyBackplane>,
        cluster: Arc<Cluster>,
        runtime: &Handle,
    ) -> Arc<Self> {
        Archive::of(Journal::shared(backplane, cluster.id(), runtime), Some(cluster))
    }

    /// Waits for a permit to read a page of history.
    pub(super) async fn read_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.history_reads.acquire().await.ok()
    }

    fn of(journal: Arc<Journal>, cluster: Option<Arc<Cluster>>) -> Arc<Self> {
        Arc::new(Archive {
            journal,
            cluster,
            pages: PageCache::default(),
            history_reads: Semaphore::new(MAX_CONCURRENT_READS),
            replay_reads: Semaphore::new(MAX_CONCURRENT_REPLAY_READS),
            total_rooms: AtomicUsize::new(0),
            counted: Mutex::default(),
            permanent_rooms: AtomicUsize::new(0),
            eviction: Eviction::default(),
        })
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}
