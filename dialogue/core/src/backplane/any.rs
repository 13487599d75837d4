//! The object-safe forms of [`Backplane`](super::Backplane) and of the traits that it is made of: the server holds a
//! backplane of any type behind `dyn AnyBackplane`, at the cost of one boxed future per call. A call serves a group of
//! rooms (group commit), so the cost is shared.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{
    Feed, Member, MembersUpdate, NodeMessages, Publication, Published, SharedLogs, SharedMembers,
    SharedRecords,
};
use crate::{
    store::{AnyStore, StoreError, StoreFuture},
    wire::{Id, Position},
};

/// The boxed future of the outcomes of a call, one for each room.
pub type OutcomesFuture<'a, T> = Pin<Box<dyn Future<Output = Vec<Result<T, StoreError>>> + Send + 'a>>;

/// The object-safe form of [`Backplane`](super::Backplane).
pub trait AnyBackplane: AnySharedLogs + AnySharedMembers + AnySharedRecords + AnyNodeMessages {}

impl<B: AnySharedLogs + AnySharedMembers + AnySharedRecords + AnyNodeMessages> AnyBackplane for B {}

/// The methods of [`SharedLogs`] with boxed futures.
pub trait AnySharedLogs: AnyStore {
    fn publish(&self, node: Id, publications: Vec<Publication>) -> OutcomesFuture<'_, Published>;
    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>>;
}

/// The methods of [`SharedMembers`] with boxed futures.
pub trait AnySharedMembers: Send + Sync {
    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool>;
    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>>;
    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>>;
}

/// The methods of [`SharedRecords`] with boxed futures.
pub trait AnySharedRecords: AnyStore {
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool>;
}

/// The methods of [`NodeMessages`] with boxed futures.
pub trait AnyNodeMessages: Send + Sync {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed>;
    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()>;
}

impl<B: SharedLogs> AnySharedLogs for B {
    fn publish(&self, node: Id, publications: Vec<Publication>) -> OutcomesFuture<'_, Published> {
        Box::pin(SharedLogs::publish(self, node, publications))
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<Option<Position>>> {
        Box::pin(SharedLogs::heads(self, room_ids))
    }
}

impl<B: SharedMembers> AnySharedMembers for B {
    fn update_members(&self, node: Id, update: MembersUpdate) -> StoreFuture<'_, bool> {
        Box::pin(SharedMembers::update_members(self, node, update))
    }

    fn members<'a>(&'a self, room_id: &'a str) -> StoreFuture<'a, Vec<Member>> {
        Box::pin(SharedMembers::members(self, room_id))
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> StoreFuture<'a, Vec<usize>> {
        Box::pin(SharedMembers::sizes(self, room_ids))
    }
}

impl<B: SharedRecords> AnySharedRecords for B {
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> StoreFuture<'a, bool> {
        Box::pin(SharedRecords::compare_and_swap(self, key, old, new))
    }
}

impl<B: NodeMessages> AnyNodeMessages for B {
    fn join(&self, node: Id) -> StoreFuture<'_, Feed> {
        Box::pin(NodeMessages::join(self, node))
    }

    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> StoreFuture<'a, ()> {
        Box::pin(NodeMessages::send(self, node, room_id, message))
    }
}
