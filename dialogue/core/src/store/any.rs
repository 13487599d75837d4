//! [`AnyStore`], the object-safe form of [`Store`]: the server holds a store of any type behind `dyn AnyStore`, at the
//! cost of one boxed future per call. A call serves a group of rooms (group commit), so the cost is shared.

use std::pin::Pin;

use bytes::Bytes;

use super::{Append, Head, Page, Query, Store, StoreError, StoredKey, Trim};

/// The boxed future of one call.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The methods of [`Store`] with boxed futures, implemented for every store.
pub trait AnyStore: Send + Sync {
    fn append(&self, appends: Vec<Append>) -> StoreFuture<'_, ()>;
    fn head<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Option<Head>>;
    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> StoreFuture<'a, Page>;
    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> StoreFuture<'a, Vec<StoredKey>>;
    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> StoreFuture<'a, ()>;
    fn remove<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, ()>;
    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> StoreFuture<'_, ()>;
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<(String, Bytes)>>;
    fn max_concurrent_appends(&self) -> usize;
}

impl<S: Store> AnyStore for S {
    fn append(&self, appends: Vec<Append>) -> StoreFuture<'_, ()> {
        Box::pin(Store::append(self, appends))
    }

    fn head<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Option<Head>> {
        Box::pin(Store::head(self, room_id))
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> StoreFuture<'a, Page> {
        Box::pin(Store::read(self, room_id, query))
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> StoreFuture<'a, Vec<StoredKey>> {
        Box::pin(Store::keys(self, room_id, since))
    }

    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> StoreFuture<'a, ()> {
        Box::pin(Store::trim(self, room_id, trim))
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(Store::remove(self, room_id))
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> StoreFuture<'_, ()> {
        Box::pin(Store::put(self, records))
    }

    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>> {
        Box::pin(Store::get(self, key))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<(String, Bytes)>> {
        Box::pin(Store::scan(self, prefix, after, limit))
    }

    fn max_concurrent_appends(&self) -> usize {
        Store::max_concurrent_appends(self)
    }
}
