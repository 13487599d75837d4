//! What the rooms of this process have in their store.

mod catalog;
mod event;
mod lock;
mod open;
mod pages;
mod space;
mod trim;

use std::sync::{Arc, atomic::AtomicUsize};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

pub(crate) use lock::StateLock;
pub(super) use open::Found;
pub(crate) use open::Saved;
pub(super) use pages::OldPage;
use pages::Pages;
pub(super) use space::Outcome;
use space::Space;
pub(super) use trim::Trimming;

use super::Peers;
use crate::{backplane::AnyBackplane, log::Journal, store::AnyStore};

/// The store, as rooms use it: their logs, what is known of them, and pages of the past that many read at once.
pub(crate) struct Archive {
    pub(crate) journal: Arc<Journal>,
    /// The other instances, where there may be any.
    pub(crate) peers: Option<Arc<Peers>>,
    pages: Pages,
    /// Pages of history that are read at once.
    reading: Semaphore,
    /// Pages of replays that are read at once.
    replaying: Semaphore,
    /// Rooms that are known of.
    total: AtomicUsize,
    /// When they were counted last.
    counted: Mutex<Option<Instant>>,
    /// How many of them were made on purpose.
    kept: AtomicUsize,
    space: Space,
}

/// Pages of history that are read from the store at once: what they cost is not to be what events wait for.
const READS: usize = 4;
/// Pages of replays that are read at once: those who come back to one place share them.
const REPLAYS: usize = 8;

impl Archive {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        Archive::of(Journal::new(store, runtime), None)
    }

    /// What all instances share.
    pub(crate) fn shared(backplane: Arc<dyn AnyBackplane>, peers: Arc<Peers>, runtime: &Handle) -> Arc<Self> {
        Archive::of(Journal::shared(backplane, peers.id(), runtime), Some(peers))
    }

    /// Waits until a page of history may be read.
    pub(super) async fn may_read(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.reading.acquire().await.ok()
    }

    fn of(journal: Arc<Journal>, peers: Option<Arc<Peers>>) -> Arc<Self> {
        Arc::new(Archive {
            journal,
            peers,
            pages: Pages::default(),
            reading: Semaphore::new(READS),
            replaying: Semaphore::new(REPLAYS),
            total: AtomicUsize::new(0),
            counted: Mutex::default(),
            kept: AtomicUsize::new(0),
            space: Space::default(),
        })
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}
