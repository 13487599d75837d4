//! A store without its type: one box for each call, which a group of rooms shares.

use std::pin::Pin;

use bytes::Bytes;

use super::{Append, Head, Page, Query, Store, StoreError, StoredKey, Trim};

/// What a call yields.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// See [`Store`].
pub(crate) trait AnyStore: Send + Sync {
    fn append(&self, appends: Vec<Append>) -> Answer<'_, ()>;
    fn head<'a>(&'a self, room_id: &'a str) -> Answer<'a, Option<Head>>;
    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> Answer<'a, Page>;
    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> Answer<'a, Vec<StoredKey>>;
    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> Answer<'a, ()>;
    fn remove<'a>(&'a self, room_id: &'a str) -> Answer<'a, ()>;
    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Answer<'_, ()>;
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>>;
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, Bytes)>>;
    fn concurrency(&self) -> usize;
}

impl<S: Store> AnyStore for S {
    fn append(&self, appends: Vec<Append>) -> Answer<'_, ()> {
        Box::pin(Store::append(self, appends))
    }

    fn head<'a>(&'a self, room_id: &'a str) -> Answer<'a, Option<Head>> {
        Box::pin(Store::head(self, room_id))
    }

    fn read<'a>(&'a self, room_id: &'a str, query: Query) -> Answer<'a, Page> {
        Box::pin(Store::read(self, room_id, query))
    }

    fn keys<'a>(&'a self, room_id: &'a str, since: u64) -> Answer<'a, Vec<StoredKey>> {
        Box::pin(Store::keys(self, room_id, since))
    }

    fn trim<'a>(&'a self, room_id: &'a str, trim: Trim) -> Answer<'a, ()> {
        Box::pin(Store::trim(self, room_id, trim))
    }

    fn remove<'a>(&'a self, room_id: &'a str) -> Answer<'a, ()> {
        Box::pin(Store::remove(self, room_id))
    }

    fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Answer<'_, ()> {
        Box::pin(Store::put(self, records))
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Bytes>> {
        Box::pin(Store::get(self, key))
    }

    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Answer<'a, Vec<(String, Bytes)>> {
        Box::pin(Store::scan(self, prefix, after, limit))
    }

    fn concurrency(&self) -> usize {
        Store::concurrency(self)
    }
}
