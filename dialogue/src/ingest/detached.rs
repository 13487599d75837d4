//! The bound on ingests whose callers are gone.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound on the ingests that go on in a task of their own after their callers dropped them.
pub(crate) struct DetachedIngests {
    permits: Arc<Semaphore>,
    /// Set when the lack of permits was logged, until one is free again.
    is_bound_logged: AtomicBool,
}

/// The maximum number of ingests without callers; the rest of further ones is dropped.
pub(super) const MAX_DETACHED: usize = 4_096;

impl Default for DetachedIngests {
    fn default() -> Self {
        DetachedIngests {
            permits: Arc::new(Semaphore::new(MAX_DETACHED)),
            is_bound_logged: AtomicBool::new(false),
        }
    }
}

impl DetachedIngests {
    /// Returns a permit for an ingest to go on without a caller; `None` if there are too many, which is logged.
    pub(super) fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            if !self.is_bound_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    max = MAX_DETACHED,
                    "the part of middleware after `next.run()` is dropped for events whose senders disconnected: it takes too long"
                );
            }
            return None;
        };
        self.is_bound_logged.store(false, Ordering::Relaxed);
        Some(permit)
    }
}
