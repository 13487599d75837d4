//! A store or a backplane, each call of which is seen.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tracing::{Instrument, Span};

use super::{
    Measures,
    measures::{BackplaneCall, Operation},
    spans,
};
use crate::{
    Position,
    backplane::{AnyBackplane, Feed, Member, MembersUpdate, Publication, Published},
    store::{AnyStore, Append, Head, Page, Query, StoreError, StoreFuture, StoredKey, Trim},
    wire::Id,
};

/// Does what the store does, in a span, and measures how long that takes if anybody looks.
pub(crate) struct Timed {
    store: Arc<dyn AnyStore>,
    measures: Option<Arc<Measures>>,
}

/// The same for a backplane.
pub(crate) struct TimedBackplane {
    store: Timed,
    backplane: Arc<dyn AnyBackplane>,
}

/// A call under way: one that is dropped before its end has failed.
struct Call<F: FnMut(Duration, bool)> {
    ended: F,
    began: Instant,
    failed: bool,
}

impl Timed {
    pub(crate) fn new(store: Arc<dyn AnyStore>, measures: Option<Arc<Measures>>) -> Arc<Self> {
        Arc::new(Timed { store, measures })
    }

    fn time<'a, T: Send + 'a>(
        &'a self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let ended = move |took, failed| {
            if let Some(measures) = &self.measures {
                measures.called(operation, took, failed);
            }
        };
        Box::pin(timed(call, ended, Result::is_err).instrument(spans::store(operation.label())))
    }
}

impl TimedBackplane {
    pub(crate) fn new(backplane: Arc<dyn AnyBackplane>, measures: Option<Arc<Measures>>) -> Arc<Self> {
        let store = Timed { store: Arc::clone(&backplane) as Arc<dyn AnyStore>, measures };
        Arc::new(TimedBackplane { store, backplane })
    }

    fn time<'a, T: Send + 'a>(
        &'a self,
        operation: BackplaneCall,
        call: impl Future<Output = T> + Send + 'a,
        is_failure: fn(&T) -> bool,
    ) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
        let ended = move |took, failed| {
            if let Some(measures) = &self.store.measures {
                measures.backplane_called(operation, took, failed);
            }
        };
        Box::pin(timed(call, ended, is_failure).instrument(spans::backplane(operation.label())))
    }
}

async fn timed<T>(
    call: impl Future<Output = T>,
    ended: impl FnMut(Duration, bool),
    is_failure: impl Fn(&T) -> bool,
) -> T {
    let mut under_way = Call { ended, began: Instant::now(), failed: true };
    let outcome = call.await;
    under_way.failed = is_failure(&outcome);
    if under_way.failed {
        Span::current().record("failed", true);
    }
    outcome
}

impl<F: FnMut(Duration, bool)> Drop for Call<F> {
    fn drop(&mut self) {
        (self.ended)(self.began.elapsed(), self.failed);
    }
}

impl AnyStore for Timed {
    fn append(&self, appends: Vec<Append>) -> StoreFuture<'_, ()> {
        self.time(Operation::Append, self.store.append(appends))
    }

    fn head<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Option<Head>> {
        self.time(Operation::Head, self.store.head(room_id))
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> StoreFuture<'a, Page> {
        self.time(Operation::Read, self.store.read(room_id, query))
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> StoreFuture<'a, Vec<StoredKey>> {
        self.time(Operation::Keys, self.store.keys(room_id, since))
    }

    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> StoreFuture<'a, ()> {
        self.time(Operation::Trim, self.store.trim(room_id, trim))
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, ()> {
        self.time(Operation::Remove, self.store.remove(room_id))
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> StoreFuture<'_, ()> {
        self.time(Operation::Put, self.store.put(records))
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.time(Operation::Get, self.store.get(key))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<(String, Bytes)>> {
        self.time(Operation::Scan, self.store.scan(prefix, after, limit))
    }

    fn max_concurrent_appends(&self) -> usize {
        self.store.max_concurrent_appends()
    }
}

impl AnyStore for TimedBackplane {
    fn append(&self, appends: Vec<Append>) -> StoreFuture<'_, ()> {
        self.store.append(appends)
    }

    fn head<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Option<Head>> {
        self.store.head(room_id)
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> StoreFuture<'a, Page> {
        self.store.read(room_id, query)
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> StoreFuture<'a, Vec<StoredKey>> {
        self.store.keys(room_id, since)
    }

    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> StoreFuture<'a, ()> {
        self.store.trim(room_id, trim)
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, ()> {
        self.store.remove(room_id)
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> StoreFuture<'_, ()> {
        self.store.put(records)
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.store.get(key)
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<(String, Bytes)>> {
        self.store.scan(prefix, after, limit)
    }

    fn max_concurrent_appends(&self) -> usize {
        self.store.max_concurrent_appends()
    }
}

impl AnyBackplane for TimedBackplane {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed> {
        self.backplane.join(node)
    }

    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> Pin<Box<dyn Future<Output = Vec<Result<Published, StoreError>>> + Send + '_>> {
        let failed = |outcomes: &Vec<_>| outcomes.iter().any(Result::is_err);
        self.time(BackplaneCall::Publish, self.backplane.publish(node, publications), failed)
    }

    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()> {
        self.time(BackplaneCall::Send, self.backplane.send(node, room_id, message), Result::is_err)
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>> {
        self.time(BackplaneCall::Heads, self.backplane.heads(room_ids), Result::is_err)
    }

    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool> {
        self.time(BackplaneCall::UpdateMembers, self.backplane.update_members(node, update), Result::is_err)
    }

    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>> {
        self.time(BackplaneCall::Members, self.backplane.members(room_id), Result::is_err)
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>> {
        self.time(BackplaneCall::Members, self.backplane.sizes(room_ids), Result::is_err)
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool> {
        self.time(
            BackplaneCall::CompareAndSwap,
            self.backplane.compare_and_swap(key, old, new),
            Result::is_err,
        )
    }
}
