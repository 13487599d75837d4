//! A backplane without its type: one box for each call, which a group of rooms shares.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;

use super::{Backplane, Feed, Member, Roll, Share, Shared};
use crate::{
    Position,
    store::{AnyStore, StoreError},
    wire::Id,
};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Tried<'a, T> = Answer<'a, Result<T, StoreError>>;

/// See [`Backplane`].
pub(crate) trait AnyBackplane: AnyStore {
    fn join(&self, peer: Id) -> Tried<'_, Feed>;
    fn share(&self, peer: Id, shares: Vec<Share>) -> Answer<'_, Vec<Result<Shared, StoreError>>>;
    fn tell<'a>(&'a self, peer: Id, room_id: &'a str, message: Bytes) -> Tried<'a, ()>;
    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<Option<Position>>>;
    fn call_roll(&self, peer: Id, roll: Roll) -> Tried<'_, bool>;
    fn members<'a>(&'a self, room_id: &'a str) -> Tried<'a, Vec<Member>>;
    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<usize>>;
    fn swap<'a>(&'a self, key: &'a str, old: Option<Bytes>, new: Option<Bytes>) -> Tried<'a, bool>;
}

impl<B: Backplane> AnyBackplane for B {
    fn join(&self, peer: Id) -> Tried<'_, Feed> {
        Box::pin(Backplane::join(self, peer))
    }

    fn share(&self, peer: Id, shares: Vec<Share>) -> Answer<'_, Vec<Result<Shared, StoreError>>> {
        Box::pin(Backplane::share(self, peer, shares))
    }

    fn tell<'a>(&'a self, peer: Id, room_id: &'a str, message: Bytes) -> Tried<'a, ()> {
        Box::pin(Backplane::tell(self, peer, room_id, message))
    }

    fn heads<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<Option<Position>>> {
        Box::pin(Backplane::heads(self, room_ids))
    }

    fn call_roll(&self, peer: Id, roll: Roll) -> Tried<'_, bool> {
        Box::pin(Backplane::call_roll(self, peer, roll))
    }

    fn members<'a>(&'a self, room_id: &'a str) -> Tried<'a, Vec<Member>> {
        Box::pin(Backplane::members(self, room_id))
    }

    fn sizes<'a>(&'a self, room_ids: &'a [Arc<str>]) -> Tried<'a, Vec<usize>> {
        Box::pin(Backplane::sizes(self, room_ids))
    }

    fn swap<'a>(&'a self, key: &'a str, old: Option<Bytes>, new: Option<Bytes>) -> Tried<'a, bool> {
        Box::pin(Backplane::swap(self, key, old, new))
    }
}
