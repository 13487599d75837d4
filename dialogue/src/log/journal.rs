//! What the rooms of this process have of their store: group commit into it, and reads that end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use super::{
    health::Health,
    queue::{Entered, Lead, Queue, Told},
};
use crate::{
    caught::caught,
    store::{AnyStore, Append, Head, Page, Query, StoreError, StoredKey},
};

/// Appends what rooms hand over, all that waits in one go (group commit): while the store writes, the next group gathers.
///
/// There is no task for it: of the rooms that wait, the one that came first appends for all. So a room that is alone waits
/// for nobody's wake-up but the store's. A room has one append under way at most, so that its events keep their order.
pub(crate) struct Journal {
    store: Arc<dyn AnyStore>,
    queue: Arc<Queue>,
    health: Arc<Health>,
}

/// Why an append came to nothing.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// It was not begun: nothing was done, for sure.
    Untouched,
    /// It may have been done or not.
    Unknown(StoreError),
}

/// How long a call of the store may take.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

impl Journal {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        let health = Health::new(Arc::clone(&store), runtime.clone());
        let queue = Queue::new(store.concurrency());
        Arc::new(Journal { store, queue, health })
    }

    /// Whether the store takes events, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// How many bytes of payloads wait to be appended, and rooms.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        self.queue.waiting()
    }

    /// Appends to a room's log.
    pub(crate) async fn append(&self, append: Append) -> Result<(), NotAppended> {
        if !self.is_up() {
            return Err(NotAppended::Untouched);
        }
        let told = match self.queue.enter(append) {
            None => return Err(NotAppended::Untouched),
            Some(Entered::Leads(lead)) => Ok(Ok(Told::Lead(lead))),
            // In its turn it has as long as anything; before that, so has the group that is under way.
            Some(Entered::Waits(told)) => timeout(WITHIN * 2, told).await,
        };
        let outcome = match told {
            Ok(Ok(Told::Done(outcome))) => outcome,
            Ok(Ok(Told::Lead(lead))) => self.append_group(lead).await,
            Ok(Err(_)) => Err(StoreError::new("the append was given up")),
            Err(_) => Err(too_slow("append")),
        };
        outcome.map_err(NotAppended::Unknown)
    }

    pub(crate) async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        within("read", self.store.head(room_id)).await
    }

    pub(crate) async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        within("read", self.store.read(room_id, query)).await
    }

    pub(crate) async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        within("read", self.store.keys(room_id, since)).await
    }

    pub(crate) async fn trim(&self, room_id: &str, first: u64, keys_since: u64) -> Result<(), StoreError> {
        within("trim", self.store.trim(room_id, first, keys_since)).await
    }

    pub(crate) async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.write(within("remove", self.store.remove(room_id))).await
    }

    pub(crate) async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.write(within("write", self.store.put(records))).await
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        within("read", self.store.get(key)).await
    }

    pub(crate) async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        within("read", self.store.scan(prefix, after, limit)).await
    }

    /// Appends what waits, for all rooms; yields what became of the leader's own.
    async fn append_group(&self, mut lead: Lead) -> Result<(), StoreError> {
        let (appends, waiting) = lead.group();
        let outcome = within("append", self.store.append(appends)).await;
        // Somebody else goes on at once, before all are told.
        drop(lead);
        if let Err(error) = &outcome {
            self.health.failed(error);
        }
        let of = |room: usize| match &outcome {
            Err(error) if error.is_of(room) => Err(error.clone()),
            _ => Ok(()),
        };
        for (place, told) in waiting.into_iter().enumerate() {
            // Who waited may be gone. The leader's own append stands before theirs.
            let _ = told.send(Told::Done(of(place + 1)));
        }
        of(0)
    }

    /// What can't be written now can't be for anybody: nobody waits for it in vain.
    async fn write(&self, call: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
        if !self.is_up() {
            return Err(StoreError::new("the store is down"));
        }
        call.await.inspect_err(|error| self.health.failed(error))
    }
}

/// A call of the store, which ends in time, whatever the store does.
pub(super) async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(WITHIN, caught("store", call)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(StoreError::new(format!("the store panicked when it was asked to {what}"))),
        Err(_) => Err(too_slow(what)),
    }
}

fn too_slow(what: &'static str) -> StoreError {
    StoreError::new(format!("the store took longer than {} s to {what}", WITHIN.as_secs()))
}
