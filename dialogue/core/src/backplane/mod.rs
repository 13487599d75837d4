//! Sharing of rooms between the nodes of an application: the trait [`Backplane`], its types, and the backplanes that
//! come with the library.
//!
//! An application that runs as a single process needs no backplane. Of several nodes behind a load balancer, each has
//! some of a room's members. A backplane gives the room one order of events, sends the events and the changes of
//! members to all nodes that follow the room (publish/subscribe), and tracks which nodes are alive.
//!
//! A backplane is also the [`Store`] of the logs, so that an event is numbered, appended and published in one atomic
//! step, and a node reads events that it missed from the log. [`Local`] connects the servers of one process; `Redis`
//! (feature `redis`) connects processes.

#[doc(hidden)]
pub mod any;
mod feed;
mod local;
mod member;
mod publication;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    store::{Store, StoreError},
    wire::{Id, Position},
};

#[doc(hidden)]
pub use any::{AnyBackplane, AnyNodeMessages, AnySharedLogs, AnySharedMembers, AnySharedRecords};
pub use feed::{Feed, FeedEvents, FeedMessage, FeedSender, Follower};
pub use local::Local;
pub use member::{Member, MemberChange, MembersUpdate};
pub use publication::{Draft, DraftOutcome, Publication, Published};

/// The link between the nodes of an application, over which they share their rooms. It is also their [`Store`].
///
/// It is made of what the nodes share: [`SharedLogs`], [`SharedMembers`], [`SharedRecords`] and [`NodeMessages`]. The trait
/// itself has no method: `impl Backplane for MyBackplane {}`.
///
/// The log is the truth; the [`Feed`] is its fast path. A feed may therefore lose any message, as long as it then sends
/// [`FeedMessage::Gap`] for every room that the message may have concerned: nodes compare such a room with its log, and
/// read what they missed (anti-entropy).
///
/// Nodes are named by their [`Id`]. A call that takes longer than 5 s is dropped and counts as failed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a backplane",
    label = "can't connect nodes",
    note = "implement `dialogue::backplane::Backplane` for `{Self}`: it has no method of its own, but needs `SharedLogs`, `SharedMembers`, `SharedRecords` and `NodeMessages`, which are beside it, and `dialogue::store::Store`"
)]
pub trait Backplane: SharedLogs + SharedMembers + SharedRecords + NodeMessages {}

/// Logs to which several nodes append.
pub trait SharedLogs: Store {
    /// Appends events to the logs of some rooms, each room at most once in a call, behind the events that other nodes
    /// have appended in the meantime. For each room, numbering the events, appending them and sending them to all nodes
    /// that follow the room, `node` included, is one atomic step.
    ///
    /// Returns the outcome for each room, in the order of `publications`. After an error the events may have been
    /// appended or not, unless it is a [conflict](StoreError::is_conflict): then the log has another epoch than the
    /// publication continues, and is unchanged.
    fn publish(
        &self,
        node: Id,
        publications: Vec<Publication>,
    ) -> impl Future<Output = Vec<Result<Published, StoreError>>> + Send;

    /// Returns the position of the newest event of each room, in the order of `room_ids`; `None` for an empty log.
    ///
    /// # Errors
    ///
    /// The logs can't be read now.
    fn heads(
        &self,
        room_ids: &[Arc<str>],
    ) -> impl Future<Output = Result<Vec<Option<Position>>, StoreError>> + Send;
}

/// The members that rooms have at all nodes.
pub trait SharedMembers: Send + Sync + 'static {
    /// Records changes to the members that a room has at `node`, and sends them to the nodes that follow it. Returns
    /// `false`, and changes nothing, if the room would then have more connections than
    /// [`MembersUpdate::max_connections`].
    ///
    /// # Errors
    ///
    /// The changes can't be recorded now.
    fn update_members(
        &self,
        node: Id,
        update: MembersUpdate,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Returns the members that each node has recorded for a room. It may include nodes that have left the deployment;
    /// the caller ignores those.
    ///
    /// # Errors
    ///
    /// The members can't be read now.
    fn members(&self, room_id: &str) -> impl Future<Output = Result<Vec<Member>, StoreError>> + Send;

    /// Returns the number of connections of each room over all nodes, in the order of `room_ids`. It may include the
    /// connections of a node that has just left. The server asks for some hundred rooms at once, which a backplane
    /// should answer in one round trip; the default implementation reads the [`members`](Self::members) of each.
    ///
    /// # Errors
    ///
    /// The numbers can't be read now.
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
}

/// Records that several nodes change.
pub trait SharedRecords: Store {
    /// Replaces the value of a record if its value is `old`, and returns whether it was. `None` stands for an absent
    /// record, both as `old` and as `new`. By this, nodes that change the same record at once lose no change.
    ///
    /// # Errors
    ///
    /// The record can't be changed now, or it is unknown whether it was.
    fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// The messages between nodes, and the list of nodes.
pub trait NodeMessages: Send + Sync + 'static {
    /// Joins the other nodes, as `node`. Messages about the rooms that this node [follows](Follower::follow) come out
    /// of the feed. The node is a member of the deployment until the feed is dropped or [left](Feed::leave).
    ///
    /// # Errors
    ///
    /// The node can't join, or could never receive anything; the error's text says what to change.
    fn join(&self, node: Id) -> impl Future<Output = Result<Feed, StoreError>> + Send;

    /// Sends a message that is in no log to all nodes that follow a room, in order with the events of
    /// [`publish`](SharedLogs::publish).
    ///
    /// # Errors
    ///
    /// The message was sent to no node.
    fn send(
        &self,
        node: Id,
        room_id: &str,
        message: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}
