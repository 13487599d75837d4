//! The journal: group commit of rooms' events into a store or a backplane, and the store's other calls with a timeout.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use super::{
    commit_queue::{Admission, CommitQueue, GroupLeader, GroupWrite, QueuedWrites, WriteGroup, WriteReply},
    health::{PROBE, StoreHealth},
};
use crate::{
    catch_panic::catch_panic,
    cluster::{
        LockRecords,
        backplane::{AnyBackplane, AnySharedLogs, AnySharedRecords, Publication, Published},
    },
    store::{AnyStore, Append, Head, Page, Query, StoreError, StoreFuture, StoredKey, Trim},
    wire::Id,
};

/// Appends the events of many rooms in one call of the store (group commit): while the store writes one group, the next
/// gathers.
///
/// There is no task for it: of the rooms that wait, the first becomes the leader and writes for all. A single room thus
/// waits for nothing but the store. A room has one write under way at most, so that its events keep their order.
pub(crate) struct Journal {
    store: Arc<dyn AnyStore>,
    appends: Arc<CommitQueue<Append>>,
    /// The backplane, where other nodes write to the same logs.
    shared: Option<SharedJournal>,
    health: Arc<StoreHealth>,
}

/// The journal's connection to a backplane.
struct SharedJournal {
    logs: Arc<dyn AnySharedLogs>,
    records: Arc<dyn AnySharedRecords>,
    /// The id of this node.
    node: Id,
    publications: Arc<CommitQueue<Publication>>,
}

/// The failure of an append.
#[derive(Debug)]
pub(crate) enum NotAppended {
    /// The append was not begun: nothing was written.
    Untouched,
    /// The append may have been carried out or not.
    Unknown(StoreError),
}

/// The timeout of a call of the store.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(5);

impl Journal {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        let health = StoreHealth::new(Arc::clone(&store), runtime.clone());
        let appends = CommitQueue::new(store.max_concurrent_appends());
        Arc::new(Journal { store, appends, shared: None, health })
    }

    /// Creates a journal over logs that other nodes write to as well.
    pub(crate) fn shared(backplane: Arc<dyn AnyBackplane>, node: Id, runtime: &Handle) -> Arc<Self> {
        let logs: Arc<dyn AnySharedLogs> = Arc::<dyn AnyBackplane>::clone(&backplane);
        let store: Arc<dyn AnyStore> = Arc::<dyn AnyBackplane>::clone(&backplane);
        let health = StoreHealth::new(Arc::clone(&store), runtime.clone());
        let (appends, publications) = (
            CommitQueue::new(store.max_concurrent_appends()),
            CommitQueue::new(store.max_concurrent_appends()),
        );
        Arc::new(Journal {
            store,
            appends,
            shared: Some(SharedJournal { logs, records: backplane, node, publications }),
            health,
        })
    }

    /// Returns whether the store accepts events, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Returns the writes that wait for the store.
    pub(crate) fn queued(&self) -> QueuedWrites {
        let appends = self.appends.queued();
        let shared = self.shared.as_ref().map(|shared| shared.publications.queued()).unwrap_or_default();
        QueuedWrites { bytes: appends.bytes + shared.bytes, rooms: appends.rooms + shared.rooms }
    }

    /// Appends events to a room's log.
    ///
    /// # Cancel safety
    ///
    /// The append of a dropped future is skipped if no group has taken it yet; otherwise it may be carried out. If the
    /// leader's future is dropped, the outcome of the whole group is unknown.
    pub(crate) async fn append(&self, append: Append) -> Result<(), NotAppended> {
        self.write(&self.appends, append, |lead| self.append_group(lead)).await
    }

    /// Publishes events to a room that other nodes publish to as well.
    pub(crate) async fn publish(&self, publication: Publication) -> Result<Published, NotAppended> {
        let Some(shared) = &self.shared else { return Err(NotAppended::Untouched) };
        self.write(&shared.publications, publication, |lead| self.publish_group(shared, lead)).await
    }

    /// Writes as a member of a group, or as the leader of one.
    async fn write<W: GroupWrite, F: Future<Output = Result<W::Done, StoreError>>>(
        &self,
        queue: &Arc<CommitQueue<W>>,
        write: W,
        group: impl FnOnce(GroupLeader<W>) -> F,
    ) -> Result<W::Done, NotAppended> {
        if !self.is_up() {
            return Err(NotAppended::Untouched);
        }
        let reply = match queue.enter(write) {
            None => return Err(NotAppended::Untouched),
            Some(Admission::Leads(lead)) => Ok(Ok(WriteReply::Lead(lead))),
            // A group has one timeout; a waiting write has that of the group under way and that of its own.
            Some(Admission::Waits(reply)) => timeout(STORE_TIMEOUT * 2, reply).await,
        };
        let outcome = match reply {
            Ok(Ok(WriteReply::Done(outcome))) => outcome,
            Ok(Ok(WriteReply::Lead(lead))) => {
                lead.gather().await;
                group(lead).await
            }
            Ok(Err(_)) => Err(StoreError::new("the append was abandoned")),
            Err(_) => Err(too_slow("append")),
        };
        outcome.map_err(NotAppended::Unknown)
    }

    /// Checks whether the store responds, so that an outage isn't first noticed by a refused event; if it failed for
    /// some rooms, checks whether it accepts a write.
    pub(crate) async fn check(&self) {
        if !self.is_up() {
            return;
        }
        let looked = match self.health.is_suspect() {
            true => self.health.probe().await,
            false => with_timeout("read", self.store.get(PROBE)).await.map(drop),
        };
        if let Err(error) = looked {
            self.health.down(&error);
        }
    }

    /// Returns whether a room's failure is to be logged: of many at once, only one is.
    pub(crate) fn may_log(&self) -> bool {
        self.health.may_log()
    }

    pub(crate) async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        with_timeout("read", self.store.head(room_id)).await
    }

    pub(crate) async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        with_timeout("read", self.store.read(room_id, query)).await
    }

    pub(crate) async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        with_timeout("read", self.store.keys(room_id, since)).await
    }

    pub(crate) async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        with_timeout("trim", self.store.trim(room_id, trim)).await
    }

    pub(crate) async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.guard_write(with_timeout("remove", self.store.remove(room_id))).await
    }

    pub(crate) async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.guard_write(with_timeout("write", self.store.put(records))).await
    }

    /// Replaces the value of a record if it is `old`; returns whether it was.
    pub(crate) async fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        if let Some(shared) = &self.shared {
            return self
                .guard_write(with_timeout("write", shared.records.compare_and_swap(key, old, new)))
                .await;
        }
        // No other node writes.
        let same = self.get(key).await? == old;
        if same {
            self.put(vec![(key.to_owned(), new)]).await?;
        }
        Ok(same)
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        with_timeout("read", self.store.get(key)).await
    }

    pub(crate) async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        with_timeout("read", self.store.scan(prefix, after, limit)).await
    }

    /// Appends a group of all waiting rooms; returns the outcome of the leader's own write.
    async fn append_group(&self, mut lead: GroupLeader<Append>) -> Result<(), StoreError> {
        let WriteGroup { writes: appends, replies } = lead.group();
        let outcome = with_timeout("append", self.store.append(appends)).await;
        // The next leader starts before the outcomes are sent.
        drop(lead);
        if let Err(error) = &outcome {
            self.health.failed(error);
        }
        let of = |room: usize| match &outcome {
            Err(error) if error.concerns(room) => Err(error.clone()),
            _ => Ok(()),
        };
        for (place, reply) in replies.into_iter().enumerate() {
            // The caller may have dropped its future. The leader's own append is the first.
            let _ = reply.send(WriteReply::Done(of(place + 1)));
        }
        of(0)
    }

    /// Publishes a group of all waiting rooms; returns the outcome of the leader's own.
    async fn publish_group(
        &self,
        shared: &SharedJournal,
        mut lead: GroupLeader<Publication>,
    ) -> Result<Published, StoreError> {
        let WriteGroup { writes: publications, replies } = lead.group();
        let shared = shared.logs.publish(shared.node, publications);
        let outcomes = with_timeout("publish", async { Ok(shared.await) }).await;
        // The next leader starts before the outcomes are sent.
        drop(lead);
        let mut outcomes = outcomes.map(Vec::into_iter);
        let mut next = || match &mut outcomes {
            Ok(outcomes) => {
                outcomes.next().unwrap_or_else(|| Err(StoreError::new("a publication was left out")))
            }
            Err(error) => Err(error.clone()),
        };
        let mut next = || next().inspect_err(|error| self.health.failed(error));
        let own_outcome = next();
        for reply in replies {
            // The caller may have dropped its future.
            let _ = reply.send(WriteReply::Done(next()));
        }
        own_outcome
    }

    /// Makes a write fail at once while the store is down.
    async fn guard_write<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if !self.is_up() {
            return Err(StoreError::new("the store is down"));
        }
        call.await.inspect_err(|error| self.health.failed(error))
    }
}

impl LockRecords for Journal {
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(Journal::get(self, key))
    }

    fn swap<'a>(&'a self, key: &'a str, old: Option<Bytes>, new: Option<Bytes>) -> StoreFuture<'a, bool> {
        Box::pin(Journal::swap(self, key, old, new))
    }
}

/// Awaits a call of the store for at most [`STORE_TIMEOUT`], and turns a panic in it into an error.
pub(super) async fn with_timeout<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(STORE_TIMEOUT, catch_panic("store", call)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(StoreError::new(format!("the store panicked in a call to {what}"))),
        Err(_) => Err(too_slow(what)),
    }
}

fn too_slow(what: &'static str) -> StoreError {
    StoreError::new(format!("the store took longer than {} s to {what}", STORE_TIMEOUT.as_secs()))
}
