//! A store under test, whose errors fail the test.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use super::events::{EPOCH, append};
use crate::store::{AnyStore, Append, Head, Page, Query, StoreError, StoredEvent, StoredKey, Trim};

/// The future that opens the store again.
pub(super) type Opening<'a> = Pin<Box<dyn Future<Output = Arc<dyn AnyStore>> + 'a>>;

/// A store under test. It is public since expansions pass it on.
#[allow(missing_debug_implementations)]
pub struct Tried<'a> {
    pub(super) store: Arc<dyn AnyStore>,
    open: &'a (dyn Fn() -> Opening<'a> + 'a),
}

/// The time that a call may take; a server gives up long before.
const LIMIT: Duration = Duration::from_secs(60);

impl<'a> Tried<'a> {
    pub(super) async fn open(open: &'a (dyn Fn() -> Opening<'a> + 'a)) -> Self {
        Tried { store: open().await, open }
    }

    /// Drops the store, and opens it again.
    pub(super) async fn reopen(self) -> Self {
        let Tried { store, open } = self;
        assert_eq!(Arc::strong_count(&store), 1, "a test kept the store that is to be opened again");
        drop(store);
        Tried::open(open).await
    }

    /// Appends to the log of one room.
    pub(super) async fn append(&self, room_id: &str, events: Vec<StoredEvent>) {
        let numbers = events.first().map(|first| first.seq)..=events.last().map(|last| last.seq);
        if let Err(error) = self.try_append(vec![append(room_id, events)]).await {
            panic!("`append` refused the numbers {numbers:?} that follow the log of `{room_id}`: {error}");
        }
    }

    pub(super) async fn try_append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        within("append", self.store.append(appends)).await
    }

    pub(super) async fn head(&self, room_id: &str) -> Option<Head> {
        done("head", within("head", self.store.head(room_id)).await)
    }

    pub(super) async fn read(&self, room_id: &str, query: Query) -> Page {
        done("read", within("read", self.store.read(room_id, query)).await)
    }

    pub(super) async fn keys(&self, room_id: &str, since: u64) -> Vec<StoredKey> {
        done("keys", within("keys", self.store.keys(room_id, since)).await)
    }

    pub(super) async fn trim(&self, room_id: &str, first: u64, keys_since: u64) {
        self.trim_of(EPOCH, room_id, first, keys_since).await;
    }

    /// Trims a room's log if it is of that epoch.
    pub(super) async fn trim_of(&self, epoch: &str, room_id: &str, first: u64, keys_since: u64) {
        let trim = Trim::new(epoch.into(), first, keys_since);
        done("trim", within("trim", self.store.trim(room_id, trim)).await);
    }

    pub(super) async fn remove(&self, room_id: &str) {
        done("remove", within("remove", self.store.remove(room_id)).await);
    }

    pub(super) async fn put<'k>(&self, records: impl IntoIterator<Item = (&'k str, Option<&'k [u8]>)>) {
        let records =
            records.into_iter().map(|(key, value)| (key.to_owned(), value.map(Bytes::copy_from_slice)));
        done("put", within("put", self.store.put(records.collect())).await);
    }

    pub(super) async fn get(&self, key: &str) -> Option<Bytes> {
        done("get", within("get", self.store.get(key)).await)
    }

    pub(super) async fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<(String, Bytes)> {
        done("scan", within("scan", self.store.scan(prefix, after, limit)).await)
    }
}

async fn within<T>(call: &str, answer: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(answer) => answer,
        Err(_) => panic!("`{call}` did not answer within {LIMIT:?}; a server waits 5 s"),
    }
}

fn done<T>(call: &str, answer: Result<T, StoreError>) -> T {
    answer.unwrap_or_else(|error| panic!("`{call}` failed though nothing was wrong: {error}"))
}
