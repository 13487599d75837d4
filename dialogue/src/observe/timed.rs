//! A store, each call of which is seen.

use std::{future::Future, sync::Arc, time::Instant};

use bytes::Bytes;
use tracing::{Instrument, Span};

use super::{Measures, measures::Operation, spans};
use crate::store::{Answer, AnyStore, Append, Head, Page, Query, StoreError, StoredKey};

/// Does what the store does, in a span, and measures how long that takes if anybody looks.
pub(crate) struct Timed {
    store: Arc<dyn AnyStore>,
    measures: Option<Arc<Measures>>,
}

/// A call under way: one that is dropped before its end has failed.
struct Call<'a> {
    measures: Option<&'a Measures>,
    operation: Operation,
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
    ) -> Answer<'a, T> {
        let span = spans::store(operation.label());
        let timed = async move {
            let measures = self.measures.as_deref();
            let mut timed = Call { measures, operation, began: Instant::now(), failed: true };
            let outcome = call.await;
            timed.failed = outcome.is_err();
            if timed.failed {
                Span::current().record("failed", true);
            }
            outcome
        };
        Box::pin(timed.instrument(span))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(measures) = self.measures {
            measures.called(self.operation, self.began.elapsed(), self.failed);
        }
    }
}

impl AnyStore for Timed {
    fn append(&self, appends: Vec<Append>) -> Answer<'_, ()> {
        self.time(Operation::Append, self.store.append(appends))
    }

    fn head<'a>(&'a self, room_id: &'a str) -> Answer<'a, Option<Head>> {
        self.time(Operation::Head, self.store.head(room_id))
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> Answer<'a, Page> {
        self.time(Operation::Read, self.store.read(room_id, query))
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> Answer<'a, Vec<StoredKey>> {
        self.time(Operation::Keys, self.store.keys(room_id, since))
    }

    fn trim<'a>(&'a self, room_id: &'a str, first: u64, keys_since: u64) -> Answer<'a, ()> {
        self.time(Operation::Trim, self.store.trim(room_id, first, keys_since))
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> Answer<'a, ()> {
        self.time(Operation::Remove, self.store.remove(room_id))
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Answer<'_, ()> {
        self.time(Operation::Put, self.store.put(records))
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>> {
        self.time(Operation::Get, self.store.get(key))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, Bytes)>> {
        self.time(Operation::Scan, self.store.scan(prefix, after, limit))
    }

    fn concurrency(&self) -> usize {
        self.store.concurrency()
    }
}
