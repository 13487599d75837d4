//! The rooms whose logs are to be trimmed in the store.

use std::{mem, sync::Arc};

use crate::collections::HashSet;
use parking_lot::Mutex;

/// The rooms whose logs are to be trimmed in the store, in the next maintenance round.
#[derive(Debug, Default)]
pub(in crate::live) struct TrimQueue {
    due: Mutex<HashSet<Arc<str>>>,
}

impl TrimQueue {
    /// Adds a room to be trimmed in the next round.
    pub(in crate::live) fn push(&self, room_id: &Arc<str>) {
        self.due.lock().insert(Arc::clone(room_id));
    }

    /// Takes the rooms that are due.
    pub(in crate::live) fn take(&self) -> HashSet<Arc<str>> {
        mem::take(&mut *self.due.lock())
    }
}
