//! What the rooms of this process have of their store: group commit into it, and reads that end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, time::timeout};

use super::{
    health::{Health, PROBE},
    queue::{Entered, Lead, Queue, Told, Write},
};
use crate::{
    backplane::{AnyBackplane, Publication, Published},
    catch_panic::catch_panic,
    store::{AnyStore, Append, Head, Page, Query, StoreError, StoredKey, Trim},
    wire::Id,
};

/// Writes what rooms hand over, all that waits in one go (group commit): while the store writes, the next group gathers.
///
/// There is no task for it: of the rooms that wait, the one that came first writes for all. So a room that is alone waits
/// for nobody but the store. A room has one write under way at most, so that its events keep their order.
pub(crate) struct Journal {
    store: Arc<dyn AnyStore>,
    appends: Arc<Queue<Append>>,
    /// Where others write to the same logs.
    shared: Option<Sharing>,
    health: Arc<Health>,
}

/// What others write to too.
struct Sharing {
    backplane: Arc<dyn AnyBackplane>,
    /// This instance, as the others know it.
    peer: Id,
    shares: Arc<Queue<Publication>>,
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
        let appends = Queue::new(store.concurrency());
        Arc::new(Journal { store, appends, shared: None, health })
    }

    /// Of logs that others write to too.
    pub(crate) fn shared(backplane: Arc<dyn AnyBackplane>, peer: Id, runtime: &Handle) -> Arc<Self> {
        let store = Arc::clone(&backplane) as Arc<dyn AnyStore>;
        let health = Health::new(Arc::clone(&store), runtime.clone());
        let (appends, shares) = (Queue::new(store.concurrency()), Queue::new(store.concurrency()));
        Arc::new(Journal { store, appends, shared: Some(Sharing { backplane, peer, shares }), health })
    }

    /// Whether the store takes events, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// How many bytes of payloads wait to be appended, and rooms.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let of = |(bytes, rooms): (usize, usize), more: (usize, usize)| (bytes + more.0, rooms + more.1);
        of(
            self.appends.waiting(),
            self.shared.as_ref().map(|sharing| sharing.shares.waiting()).unwrap_or_default(),
        )
    }

    /// Appends to a room's log.
    pub(crate) async fn append(&self, append: Append) -> Result<(), NotAppended> {
        self.write(&self.appends, append, |lead| self.append_group(lead)).await
    }

    /// Puts events into a room that others put events into too.
    pub(crate) async fn share(&self, share: Publication) -> Result<Published, NotAppended> {
        let Some(sharing) = &self.shared else { return Err(NotAppended::Untouched) };
        self.write(&sharing.shares, share, |lead| self.share_group(sharing, lead)).await
    }

    /// Waits for its turn, or takes it for all.
    async fn write<W: Write, F: Future<Output = Result<W::Done, StoreError>>>(
        &self,
        queue: &Arc<Queue<W>>,
        write: W,
        group: impl FnOnce(Lead<W>) -> F,
    ) -> Result<W::Done, NotAppended> {
        if !self.is_up() {
            return Err(NotAppended::Untouched);
        }
        let told = match queue.enter(write) {
            None => return Err(NotAppended::Untouched),
            Some(Entered::Leads(lead)) => Ok(Ok(Told::Lead(lead))),
            // In its turn it has as long as anything; before that, so has the group that is under way.
            Some(Entered::Waits(told)) => timeout(WITHIN * 2, told).await,
        };
        let outcome = match told {
            Ok(Ok(Told::Done(outcome))) => outcome,
            Ok(Ok(Told::Lead(lead))) => {
                lead.gather().await;
                group(lead).await
            }
            Ok(Err(_)) => Err(StoreError::new("the append was given up")),
            Err(_) => Err(too_slow("append")),
        };
        outcome.map_err(NotAppended::Unknown)
    }

    /// Whether the store answers, for who would otherwise find out by an event that is refused; and whether it takes
    /// something, if it failed to for some rooms.
    pub(crate) async fn look(&self) {
        if !self.is_up() {
            return;
        }
        let looked = match self.health.is_suspect() {
            true => self.health.probe().await,
            false => within("read", self.store.get(PROBE)).await.map(drop),
        };
        if let Err(error) = looked {
            self.health.down(&error);
        }
    }

    /// Whether what went wrong with a room is to be told in the program's log: of many at once, one is.
    pub(crate) fn may_tell(&self) -> bool {
        self.health.may_tell()
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

    pub(crate) async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        within("trim", self.store.trim(room_id, trim)).await
    }

    pub(crate) async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.change(within("remove", self.store.remove(room_id))).await
    }

    pub(crate) async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.change(within("write", self.store.put(records))).await
    }

    /// Writes a record if it is what it was; yields whether it was.
    pub(crate) async fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        if let Some(sharing) = &self.shared {
            return self.change(within("write", sharing.backplane.compare_and_swap(key, old, new))).await;
        }
        // Nobody else writes.
        let same = self.get(key).await? == old;
        if same {
            self.put(vec![(key.to_owned(), new)]).await?;
        }
        Ok(same)
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
    async fn append_group(&self, mut lead: Lead<Append>) -> Result<(), StoreError> {
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

    /// Puts what waits into all rooms; yields what became of the leader's own.
    async fn share_group(
        &self,
        sharing: &Sharing,
        mut lead: Lead<Publication>,
    ) -> Result<Published, StoreError> {
        let (shares, waiting) = lead.group();
        let sharing = sharing.backplane.publish(sharing.peer, shares);
        let outcomes = within("share", async { Ok(sharing.await) }).await;
        // Somebody else goes on at once, before all are told.
        drop(lead);
        let mut outcomes = outcomes.map(Vec::into_iter);
        let mut next = || match &mut outcomes {
            Ok(outcomes) => outcomes.next().unwrap_or_else(|| Err(StoreError::new("a share was left out"))),
            Err(error) => Err(error.clone()),
        };
        let mut next = || next().inspect_err(|error| self.health.failed(error));
        let own = next();
        for told in waiting {
            // Who waited may be gone.
            let _ = told.send(Told::Done(next()));
        }
        own
    }

    /// What can't be written now can't be for anybody: nobody waits for it in vain.
    async fn change<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
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
    match timeout(WITHIN, catch_panic("store", call)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(StoreError::new(format!("the store panicked when it was asked to {what}"))),
        Err(_) => Err(too_slow(what)),
    }
}

fn too_slow(what: &'static str) -> StoreError {
    StoreError::new(format!("the store took longer than {} s to {what}", WITHIN.as_secs()))
}
