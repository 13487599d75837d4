//! How several instances of an application share their rooms.
//!
//! A program that runs once needs nothing of this. Of several behind a load balancer, each has some of a room's members; a
//! [`Backplane`] gives the room one order, tells every instance what the others put into it, and who is there.
//!
//! A backplane is the [`Store`] of the logs too: so an event is numbered, kept and told in one step, and what an
//! instance did not hear it reads there. To one another, the instances are *peers*.

mod any;
mod feed;
mod local;
mod member;
#[cfg(feature = "redis")]
mod redis;
mod share;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Position,
    store::{Store, StoreError},
    wire::Id,
};

pub(crate) use any::AnyBackplane;
pub use feed::{Batch, Feed, Follower, Teller, Told};
pub use local::Local;
pub use member::{Change, Member, Roll};
pub use share::{Draft, Kept, Share, Shared};

/// How several instances of an application share their rooms.
///
/// The log decides what happened; what the [`Feed`] tells is its fast path. So a feed may lose anything, as long as it
/// then says [`Told::Gap`] of every room that it may have lost something of.
///
/// Calls that take longer than the server is ready to wait (5 s) are dropped and count as failed.
pub trait Backplane: Store {
    /// Joins the application's other instances, as `peer`. What they tell of the rooms that this one
    /// [follows](Follower::follow) comes out of the feed; the instance is a peer for as long as that is kept.
    ///
    /// # Errors
    ///
    /// It can't be done, or nothing would ever be heard: the error says what is to be changed.
    fn join(&self, peer: Id) -> impl Future<Output = Result<Feed, StoreError>> + Send;

    /// Puts events into some rooms, each room at most once in a call: behind those that others have put there meanwhile.
    /// They are numbered, kept, and told to all peers that follow the room, `peer` too, in one step for each room.
    ///
    /// Yields the outcome for each room, in their order. After an error it may have been done or not, unless it is a
    /// [conflict](StoreError::is_conflict): then the room's log is another than `share` goes on from, and is as it was.
    fn share(
        &self,
        peer: Id,
        shares: Vec<Share>,
    ) -> impl Future<Output = Vec<Result<Shared, StoreError>>> + Send;

    /// Tells all peers that follow a room something that is in no log, in the order of `share`.
    ///
    /// # Errors
    ///
    /// It can't be told to anybody now.
    fn tell(
        &self,
        peer: Id,
        room_id: &str,
        message: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Where the logs of some rooms end, `None` for an empty one. In the order of the rooms.
    ///
    /// # Errors
    ///
    /// They can't be told now.
    fn heads(
        &self,
        room_ids: &[Arc<str>],
    ) -> impl Future<Output = Result<Vec<Option<Position>>, StoreError>> + Send;

    /// Says who of a peer's users is in a room now, and tells those who follow it. Yields `false`, and changes nothing, if
    /// there would be more connections than the roll allows.
    ///
    /// # Errors
    ///
    /// It can't be said now.
    fn call_roll(&self, peer: Id, roll: Roll) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Who is in a room, by the word of every peer that ever said so; those that are no peers any more count for nothing.
    ///
    /// # Errors
    ///
    /// It can't be told now.
    fn members(&self, room_id: &str) -> impl Future<Output = Result<Vec<Member>, StoreError>> + Send;

    /// The number of connections in each of some rooms, as all peers said; those of a peer that has just gone may be
    /// among them. In the order of the rooms. A list of rooms asks for some hundred at once, so that a backplane answers in
    /// one round trip if it can; unless it says so, it looks at the [`members`](Backplane::members) of each.
    ///
    /// # Errors
    ///
    /// They can't be read now.
    fn sizes(&self, room_ids: &[Arc<str>]) -> impl Future<Output = Result<Vec<usize>, StoreError>> + Send {
        async move {
            let mut sizes = Vec::with_capacity(room_ids.len());
            for room_id in room_ids {
                let members = self.members(room_id).await?;
                let connections = members.iter().map(|member| usize::try_from(member.connections));
                sizes.push(connections.map(|many| many.unwrap_or(usize::MAX)).fold(0, usize::saturating_add));
            }
            Ok(sizes)
        }
    }

    /// Writes a record if it still is what it was, `None` for none, and removes it for `None`; yields whether it was. So
    /// instances that change the same record lose nothing of what the others did.
    ///
    /// # Errors
    ///
    /// It can't be done now, or nobody knows whether it was.
    fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}
