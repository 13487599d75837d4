//! Decorators of a store and of a backplane that put each call into a span and record its duration and failure.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tracing::{Instrument, Span};

use super::{
    ServerMetrics,
    labels::{BackplaneCall, StoreCall},
    spans,
};
use crate::{
    cluster::backplane::{
        AnyBackplane, AnyNodeMessages, AnySharedLogs, AnySharedMembers, AnySharedRecords, Feed, Member,
        MembersUpdate, Publication, Published,
    },
    store::{AnyStore, Append, Head, Page, Query, StoreError, StoreFuture, StoredKey, Trim},
    wire::{Id, Position},
};

/// A store whose calls run in a span, and whose durations and failures are recorded on a server with metrics.
pub(crate) struct InstrumentedStore {
    store: Arc<dyn AnyStore>,
    metrics: Option<Arc<ServerMetrics>>,
}

/// A backplane that is instrumented as [`InstrumentedStore`] is.
pub(crate) struct InstrumentedBackplane {
    store: InstrumentedStore,
    backplane: Arc<dyn AnyBackplane>,
}

/// A call in progress. If it is dropped before its end, it counts as failed.
struct CallTimer<F: FnMut(Duration, bool)> {
    record: F,
    started_at: Instant,
    failed: bool,
}

impl InstrumentedStore {
    pub(crate) fn new(store: Arc<dyn AnyStore>, metrics: Option<Arc<ServerMetrics>>) -> Arc<Self> {
        Arc::new(InstrumentedStore { store, metrics })
    }

    fn instrument<'a, T: Send + 'a>(
        &'a self,
        operation: StoreCall,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let record = move |elapsed, failed| {
            if let Some(metrics) = &self.metrics {
                metrics.store_called(operation, elapsed, failed);
            }
        };
        Box::pin(time_call(call, record, Result::is_err).instrument(spans::store(operation.label())))
    }
}

impl InstrumentedBackplane {
    pub(crate) fn new(backplane: Arc<dyn AnyBackplane>, metrics: Option<Arc<ServerMetrics>>) -> Arc<Self> {
        let store = InstrumentedStore { store: Arc::clone(&backplane) as Arc<dyn AnyStore>, metrics };
        Arc::new(InstrumentedBackplane { store, backplane })
    }

    fn instrument<'a, T: Send + 'a>(
        &'a self,
        operation: BackplaneCall,
        call: impl Future<Output = T> + Send + 'a,
        is_failure: fn(&T) -> bool,
    ) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
        let record = move |elapsed, failed| {
            if let Some(metrics) = &self.store.metrics {
                metrics.backplane_called(operation, elapsed, failed);
            }
        };
        Box::pin(time_call(call, record, is_failure).instrument(spans::backplane(operation.label())))
    }
}

async fn time_call<T>(
    call: impl Future<Output = T>,
    record: impl FnMut(Duration, bool),
    is_failure: impl Fn(&T) -> bool,
) -> T {
    let mut timer = CallTimer { record, started_at: Instant::now(), failed: true };
    let outcome = call.await;
    timer.failed = is_failure(&outcome);
    if timer.failed {
        Span::current().record("failed", true);
    }
    outcome
}

impl<F: FnMut(Duration, bool)> Drop for CallTimer<F> {
    fn drop(&mut self) {
        (self.record)(self.started_at.elapsed(), self.failed);
    }
}

impl AnyStore for InstrumentedStore {
    fn append(&self, appends: Vec<Append>) -> StoreFuture<'_, ()> {
        self.instrument(StoreCall::Append, self.store.append(appends))
    }

    fn head<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Option<Head>> {
        self.instrument(StoreCall::Head, self.store.head(room_id))
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> StoreFuture<'a, Page> {
        self.instrument(StoreCall::Read, self.store.read(room_id, query))
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> StoreFuture<'a, Vec<StoredKey>> {
        self.instrument(StoreCall::Keys, self.store.keys(room_id, since))
    }

    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> StoreFuture<'a, ()> {
        self.instrument(StoreCall::Trim, self.store.trim(room_id, trim))
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, ()> {
        self.instrument(StoreCall::Remove, self.store.remove(room_id))
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> StoreFuture<'_, ()> {
        self.instrument(StoreCall::Put, self.store.put(records))
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        self.instrument(StoreCall::Get, self.store.get(key))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<(String, Bytes)>> {
        self.instrument(StoreCall::Scan, self.store.scan(prefix, after, limit))
    }

    fn max_concurrent_appends(&self) -> usize {
        self.store.max_concurrent_appends()
    }
}

impl AnyStore for InstrumentedBackplane {
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

impl AnySharedLogs for InstrumentedBackplane {
    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> Pin<Box<dyn Future<Output = Vec<Result<Published, StoreError>>> + Send + '_>> {
        let failed = |outcomes: &Vec<_>| outcomes.iter().any(Result::is_err);
        self.instrument(BackplaneCall::Publish, self.backplane.publish(node, publications), failed)
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>> {
        self.instrument(BackplaneCall::Heads, self.backplane.heads(room_ids), Result::is_err)
    }
}

impl AnySharedMembers for InstrumentedBackplane {
    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool> {
        self.instrument(
            BackplaneCall::UpdateMembers,
            self.backplane.update_members(node, update),
            Result::is_err,
        )
    }

    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>> {
        self.instrument(BackplaneCall::Members, self.backplane.members(room_id), Result::is_err)
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>> {
        self.instrument(BackplaneCall::Members, self.backplane.sizes(room_ids), Result::is_err)
    }
}

impl AnySharedRecords for InstrumentedBackplane {
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool> {
        self.instrument(
            BackplaneCall::CompareAndSwap,
            self.backplane.compare_and_swap(key, old, new),
            Result::is_err,
        )
    }
}

impl AnyNodeMessages for InstrumentedBackplane {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed> {
        self.backplane.join(node)
    }

    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()> {
        self.instrument(BackplaneCall::Send, self.backplane.send(node, room_id, message), Result::is_err)
    }
}
