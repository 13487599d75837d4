//! Listeners: the subscriptions of server code, which feed `room.on(…)`.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Batch, ConnectionId, ReplaySource};
use crate::{log::Record, wire::EventSet};

/// A bounded queue of records to a task of the application.
///
/// When the queue is full, the listener lags: once its task has drained the queue, it is replayed the events from the
/// log, as any subscription is. Ephemeral events are skipped meanwhile.
pub(crate) struct Listener {
    id: ConnectionId,
    queue: mpsc::Sender<Arc<Record>>,
    is_lagging: Arc<AtomicBool>,
}

/// The receiving end of a listener's queue, which closes when the instance does.
pub(crate) struct ListenerReceiver {
    id: ConnectionId,
    queue: mpsc::Receiver<Arc<Record>>,
    is_lagging: Arc<AtomicBool>,
}

/// Records in a listener's queue.
const MAX_QUEUED_RECORDS: usize = 1_024;

impl Listener {
    pub(crate) fn new(id: ConnectionId) -> (Arc<Self>, ListenerReceiver) {
        let (sender, queue) = mpsc::channel(MAX_QUEUED_RECORDS);
        let is_lagging = Arc::new(AtomicBool::new(false));
        (
            Arc::new(Listener { id, queue: sender, is_lagging: Arc::clone(&is_lagging) }),
            ListenerReceiver { id, queue, is_lagging },
        )
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(in crate::live) fn is_lagging(&self) -> bool {
        self.is_lagging.load(Ordering::Relaxed)
    }

    /// Queues the events of a batch that are in `filter`; returns the position to replay from if the queue is full.
    pub(in crate::live) fn deliver(&self, batch: &Batch, filter: EventSet) -> Option<u64> {
        for record in batch.events().iter().filter(|record| filter.contains(record.event)) {
            match (self.queue.try_send(Arc::clone(record)), record.seq) {
                (Err(TrySendError::Full(record)), Some(seq)) => {
                    self.is_lagging.store(true, Ordering::SeqCst);
                    // Tried again, since the task may have drained the queue and read `is_lagging` before it was set,
                    // and would wait for ever.
                    return Some(if self.queue.try_send(record).is_ok() { seq } else { seq - 1 });
                }
                (Err(TrySendError::Closed(_)), _) => return None,
                _ => {}
            }
        }
        None
    }
}

impl ListenerReceiver {
    /// Returns the next record; `None` when the room instance, the source of replays, is closed.
    pub(crate) async fn next<S: ReplaySource>(&mut self, source: &Weak<S>) -> Option<Arc<Record>> {
        if let Ok(record) = self.queue.try_recv() {
            return Some(record);
        }
        if self.is_lagging.swap(false, Ordering::SeqCst)
            && let Some(source) = source.upgrade()
        {
            source.request_page(self.id);
        }
        self.queue.recv().await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("id", &self.id).finish_non_exhaustive()
    }
}
