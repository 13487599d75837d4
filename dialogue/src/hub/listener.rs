//! Server code that reads along: what `room.on(…)` is fed by.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Instance, batch::Batch, state::ConnectionId};
use crate::{log::Record, wire::EventSet};

/// A bounded queue of records to a task of the application.
///
/// When it is full, the listener is replayed to from the log once it has caught up, as any reader is; ephemeral events
/// are skipped meanwhile.
pub(crate) struct Listener {
    id: ConnectionId,
    queue: mpsc::Sender<Arc<Record>>,
    behind: Arc<AtomicBool>,
}

/// The task's end of it: closed when the room is no more.
pub(crate) struct Heard {
    id: ConnectionId,
    queue: mpsc::Receiver<Arc<Record>>,
    behind: Arc<AtomicBool>,
}

const WAITING: usize = 1_024;

impl Listener {
    pub(crate) fn new(id: ConnectionId) -> (Arc<Self>, Heard) {
        let (sender, queue) = mpsc::channel(WAITING);
        let behind = Arc::new(AtomicBool::new(false));
        (Arc::new(Listener { id, queue: sender, behind: Arc::clone(&behind) }), Heard { id, queue, behind })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Queues what of `batch` is `wanted`; yields the position to replay from if the queue is full.
    pub(super) fn deliver(&self, batch: &Batch, wanted: EventSet) -> Option<u64> {
        for record in batch.events().iter().filter(|record| wanted.contains(record.event)) {
            match (self.queue.try_send(Arc::clone(record)), record.seq) {
                (Err(TrySendError::Full(record)), Some(seq)) => {
                    self.behind.store(true, Ordering::SeqCst);
                    // Once more: its task may have taken all and looked before that was said, and would wait for ever.
                    return Some(if self.queue.try_send(record).is_ok() { seq } else { seq - 1 });
                }
                (Err(TrySendError::Closed(_)), _) => return None,
                _ => {}
            }
        }
        None
    }
}

impl Heard {
    /// The next record; `None` when the room is no more.
    pub(crate) async fn next(&mut self, instance: &Weak<Instance>) -> Option<Arc<Record>> {
        if let Ok(record) = self.queue.try_recv() {
            return Some(record);
        }
        if self.behind.swap(false, Ordering::SeqCst)
            && let Some(instance) = instance.upgrade()
        {
            instance.replay_more(self.id);
        }
        self.queue.recv().await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("id", &self.id).finish_non_exhaustive()
    }
}
