//! The room instances with the most connections.

use std::{cmp::Reverse, sync::Arc};

use crate::live::{LiveRoom, Registry};

/// The instances with the most connections.
pub(super) struct LargestInstances {
    /// These, the largest first.
    pub(super) instances: Vec<Arc<LiveRoom>>,
    /// The number of all instances.
    pub(super) total: usize,
}

impl LargestInstances {
    /// Returns up to `max` instances of a node.
    pub(super) fn of(registry: &Registry, max: usize) -> Self {
        let (mut instances, mut total) = (Vec::new(), 0);
        let mut last: Option<Arc<str>> = None;
        loop {
            // In pages: instances that are being opened need the lock, too.
            let page = registry.page_after(last.as_deref());
            let Some(end) = page.last() else { return LargestInstances { instances, total } };
            last = Some(Arc::clone(&end.id));
            total += page.len();
            instances.extend(page);
            // The key is cached: sizes change during the sort.
            instances.sort_by_cached_key(|instance| Reverse(instance.size()));
            instances.truncate(max);
        }
    }
}
