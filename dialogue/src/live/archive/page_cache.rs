//! A cache of pages of old events, so that many clients that come back at once cost one read of the store.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;

use crate::{collections::HashMap, live::room::ArchivedPage};

/// Pages by room, epoch and the number that they begin after. Accepted events never change, so a cached page stays
/// valid.
#[derive(Default)]
pub(super) struct PageCache {
    cached: Mutex<CachedPages>,
}

/// The room, the epoch, and the number that the page begins after.
pub(super) type PageKey = (Arc<str>, Arc<str>, u64);

/// The pages of a [`PageCache`], which its lock guards.
#[derive(Default)]
pub(super) struct CachedPages {
    pages: HashMap<PageKey, Arc<OnceCell<Arc<ArchivedPage>>>>,
    /// The pages that were read, oldest first, with their bytes.
    order: VecDeque<(PageKey, usize)>,
    bytes: usize,
}

/// Bytes of all cached pages.
const MAX_CACHED_BYTES: usize = 32 << 20;

impl PageCache {
    /// Locks the pages.
    pub(super) fn lock(&self) -> MutexGuard<'_, CachedPages> {
        self.cached.lock()
    }
}

impl CachedPages {
    /// Returns the cell of a page, which one of those that request the page at the same time fills.
    pub(super) fn cell(&mut self, key: &PageKey) -> Arc<OnceCell<Arc<ArchivedPage>>> {
        Arc::clone(self.pages.entry(key.clone()).or_default())
    }

    /// Counts the bytes of a page that was read, and drops the oldest pages beyond the bound.
    pub(super) fn insert(&mut self, key: PageKey, bytes: usize) {
        self.bytes += bytes;
        self.order.push_back((key, bytes));
        while self.bytes > MAX_CACHED_BYTES {
            let Some((oldest, bytes)) = self.order.pop_front() else { return };
            self.bytes -= bytes;
            self.pages.remove(&oldest);
        }
    }

    /// Drops a page, unless another one has taken its place.
    pub(super) fn discard(&mut self, key: &PageKey, cell: &Arc<OnceCell<Arc<ArchivedPage>>>) {
        if self.pages.get(key).is_some_and(|other| Arc::ptr_eq(other, cell)) {
            self.pages.remove(key);
        }
    }
}
