//! [`AnyBackplane`], the object-safe form of [`Backplane`]: the server holds a backplane of any type behind `dyn
//! AnyBackplane`, at the cost of one boxed future per call. A call serves a group of rooms (group commit), so the cost
//! is shared.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{Backplane, Feed, Member, MembersUpdate, Publication, Published};
use crate::{
    store::{AnyStore, StoreError, StoreFuture},
    wire::{Id, Position},
};

/// The boxed future of a call without an error of its own.
type BackplaneFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The methods of [`Backplane`] with boxed futures, implemented for every backplane.
pub(crate) trait AnyBackplane: AnyStore {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed>;
    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> BackplaneFuture<'_, Vec<Result<Published, StoreError>>>;
    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()>;
    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>>;
    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool>;
    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>>;
    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>>;
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool>;
}

impl<B: Backplane> AnyBackplane for B {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed> {
        Box::pin(Backplane::join(self, node))
    }

    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> BackplaneFuture<'_, Vec<Result<Published, StoreError>>> {
        Box::pin(Backplane::publish(self, node, publications))
    }

    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()> {
        Box::pin(Backplane::send(self, node, room_id, message))
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>> {
        Box::pin(Backplane::heads(self, room_ids))
    }

    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool> {
        Box::pin(Backplane::update_members(self, node, update))
    }

    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>> {
        Box::pin(Backplane::members(self, room_id))
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>> {
        Box::pin(Backplane::sizes(self, room_ids))
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool> {
        Box::pin(Backplane::compare_and_swap(self, key, old, new))
    }
}
