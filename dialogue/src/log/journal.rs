//! What the rooms of this process have of their store: group commit into it, and reads that end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::health::Health;
use crate::store::{AnyStore, Append, Head, Page, Query, StoreError, StoredKey};

/// Appends what rooms hand over, all that waits in one go (group commit): while the store writes, the next group gathers.
///
/// There is no task for it: of the rooms that wait, the one whose turn it is appends for all. So a room that is alone
/// waits for nobody's wake-up but the store's. A room has one append under way at most, so that its events keep their
/// order.
pub(crate) struct Journal {
    store: Arc<dyn AnyStore>,
    waiting: Mutex<Waiting>,
    /// One for each append that may be under way.
    turns: Semaphore,
    health: Arc<Health>,
}

/// What is appended next.
#[derive(Default)]
struct Waiting {
    commits: Vec<Commit>,
    bytes: usize,
}

struct Commit {
    append: Append,
    bytes: usize,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// How long a call of the store may take.
pub(super) const WITHIN: Duration = Duration::from_secs(5);
/// Bytes of payloads that may wait; more, and they are refused.
const WAITING_BYTES: usize = 64 << 20;
/// Rooms that may wait likewise.
const WAITING_ROOMS: usize = 16 << 10;
/// Bytes of payloads in one group: past that it is closed.
const GROUP_BYTES: usize = 4 << 20;

impl Journal {
    pub(crate) fn new(store: Arc<dyn AnyStore>, runtime: &Handle) -> Arc<Self> {
        let health = Health::new(Arc::clone(&store), runtime.clone());
        let turns = Semaphore::new(store.concurrency().clamp(1, Semaphore::MAX_PERMITS));
        Arc::new(Journal { store, waiting: Mutex::default(), turns, health })
    }

    /// Whether the store takes events, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.health.is_up()
    }

    /// Appends to a room's log. After an error it may have been done or not.
    pub(crate) async fn append(&self, append: Append) -> Result<(), StoreError> {
        if !self.is_up() {
            return Err(StoreError::new("the store is down"));
        }
        let mut outcome = self.wait(append)?;
        let appending = async {
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut outcome => return outcome,
                    // Unless somebody else's group had it, or will have it since this one is closed before it.
                    turn = self.turns.acquire() => {
                        let _turn = turn;
                        if outcome.is_empty() {
                            self.append_group().await;
                        }
                    }
                }
            }
        };
        match timeout(WITHIN * 2, appending).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(StoreError::new("the append was given up"))),
            Err(_) => Err(too_slow("append")),
        }
    }

    pub(crate) async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.within("read", self.store.head(room_id)).await
    }

    pub(crate) async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.within("read", self.store.read(room_id, query)).await
    }

    pub(crate) async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.within("read", self.store.keys(room_id, since)).await
    }

    pub(crate) async fn trim(&self, room_id: &str, first: u64, keys_since: u64) -> Result<(), StoreError> {
        self.within("trim", self.store.trim(room_id, first, keys_since)).await
    }

    pub(crate) async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.watched(self.within("remove", self.store.remove(room_id)).await)
    }

    pub(crate) async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.watched(self.within("write", self.store.put(records)).await)
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.within("read", self.store.get(key)).await
    }

    pub(crate) async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.within("read", self.store.scan(prefix, after, limit)).await
    }

    /// Puts something to be appended in its place.
    fn wait(&self, append: Append) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let (done, outcome) = oneshot::channel();
        let bytes = append.events.iter().map(|event| event.data.len()).sum();
        let mut waiting = self.waiting.lock();
        if waiting.bytes >= WAITING_BYTES || waiting.commits.len() >= WAITING_ROOMS {
            return Err(StoreError::new("too much waits for the store"));
        }
        waiting.bytes += bytes;
        waiting.commits.push(Commit { append, bytes, done });
        Ok(outcome)
    }

    /// Appends what waits, for all rooms.
    async fn append_group(&self) {
        let group = self.waiting.lock().group();
        // Who gave up waiting was told that it failed.
        let group = group.into_iter().filter(|commit| !commit.done.is_closed());
        let (appends, told): (Vec<_>, Vec<_>) = group.map(|commit| (commit.append, commit.done)).unzip();
        if appends.is_empty() {
            return;
        }
        let outcome = timeout(WITHIN, self.store.append(appends)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(too_slow("append")));
        if let Err(error) = &outcome {
            self.health.failed(error);
        }
        for (room, done) in told.into_iter().enumerate() {
            let own = match &outcome {
                Err(error) if error.is_of(room) => Err(error.clone()),
                _ => Ok(()),
            };
            // Who waited may be gone.
            let _ = done.send(own);
        }
    }

    async fn within<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        timeout(WITHIN, call).await.unwrap_or_else(|_| Err(too_slow(what)))
    }

    /// What can't be written now can't be for anybody.
    fn watched<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| self.health.failed(error))
    }
}

impl Waiting {
    /// Takes the next group.
    fn group(&mut self) -> Vec<Commit> {
        let mut bytes = 0;
        let closed = self.commits.iter().position(|commit| {
            bytes += commit.bytes;
            bytes > GROUP_BYTES
        });
        // One always fits.
        let rest = closed.map(|end| self.commits.split_off(end.max(1))).unwrap_or_default();
        let group = std::mem::replace(&mut self.commits, rest);
        self.bytes -= group.iter().map(|commit| commit.bytes).sum::<usize>();
        group
    }
}

fn too_slow(what: &'static str) -> StoreError {
    StoreError::new(format!("the store took longer than {} s to {what}", WITHIN.as_secs()))
}
