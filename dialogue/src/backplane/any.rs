//! A backplane without its type: one box for each call, which a group of rooms shares.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{Backplane, Feed, Member, MembersUpdate, Publication, Published};
use crate::{
    Position,
    store::{AnyStore, StoreError},
    wire::Id,
};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Tried<'a, T> = Answer<'a, Result<T, StoreError>>;

/// See [`Backplane`].
pub(crate) trait AnyBackplane: AnyStore {
    fn join(&self, node: Id) -> Tried<'_, Feed>;
    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> Answer<'_, Vec<Result<Published, StoreError>>>;
    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> Tried<'a, ()>;
    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<Option<Position>>>;
    fn update_members(&self, node: Id, roll: MembersUpdate) -> Tried<'_, bool>;
    fn members<'a>(&'a self, room_id: &'a str) -> Tried<'a, Vec<Member>>;
    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<usize>>;
    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Tried<'a, bool>;
}

impl<B: Backplane> AnyBackplane for B {
    fn join(&self, node: Id) -> Tried<'_, Feed> {
        Box::pin(Backplane::join(self, node))
    }

    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> Answer<'_, Vec<Result<Published, StoreError>>> {
        Box::pin(Backplane::publish(self, node, publications))
    }

    fn send<'a>(&'a self, node: Id, room_id: &'a str, message: Bytes) -> Tried<'a, ()> {
        Box::pin(Backplane::send(self, node, room_id, message))
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<Option<Position>>> {
        Box::pin(Backplane::heads(self, room_ids))
    }

    fn update_members(&self, node: Id, roll: MembersUpdate) -> Tried<'_, bool> {
        Box::pin(Backplane::update_members(self, node, roll))
    }

    fn members<'a>(&'a self, room_id: &'a str) -> Tried<'a, Vec<Member>> {
        Box::pin(Backplane::members(self, room_id))
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<usize>> {
        Box::pin(Backplane::sizes(self, room_ids))
    }

    fn compare_and_swap<'a>(
        &'a self,
        key: &'a str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Tried<'a, bool> {
        Box::pin(Backplane::compare_and_swap(self, key, old, new))
    }
}
