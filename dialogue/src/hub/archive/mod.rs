//! What the rooms of this process have in their store.

mod catalog;
mod event;
mod lock;
mod open;
mod pages;
mod trim;

use std::sync::{Arc, atomic::AtomicUsize};

use parking_lot::Mutex;
use tokio::{runtime::Handle, time::Instant};

pub(crate) use lock::StateLock;
pub(super) use open::Found;
pub(crate) use open::Saved;
pub(super) use pages::OldPage;
use pages::Pages;
pub(super) use trim::Trimming;

use super::Peers;
use crate::{backplane::AnyBackplane, log::Journal, store::AnyStore};

/// The store, as rooms use it: their logs, what is known of them, and pages of the past that many read at once.
pub(crate) struct Archive {
    pub(crate) journal: Arc<Journal>,
    /// The other instances, where there may be any.
    pub(crate) peers: Option<Arc<Peers>>,
    pages: Pages,
    /// Rooms that are known of.
    total: AtomicUsize,
    /// When they were counted last.
    counted: Mutex<Option<Instant>>,
    /// The room up to which space was looked for.
    looked_at: Mutex<Option<Arc<str>>>,
}

impl Archive {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        Archive::of(Journal::new(store, runtime), None)
    }

    /// What all instances share.
    pub(crate) fn shared(backplane: Arc<dyn AnyBackplane>, peers: Arc<Peers>, runtime: &Handle) -> Arc<Self> {
        Archive::of(Journal::shared(backplane, peers.id(), runtime), Some(peers))
    }

    fn of(journal: Arc<Journal>, peers: Option<Arc<Peers>>) -> Arc<Self> {
        Arc::new(Archive {
            journal,
            peers,
            pages: Pages::default(),
            total: AtomicUsize::new(0),
            counted: Mutex::default(),
            looked_at: Mutex::default(),
        })
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").finish_non_exhaustive()
    }
}
