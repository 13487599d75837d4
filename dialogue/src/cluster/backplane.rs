//! Sharing of rooms between the nodes of an application: the trait [`Backplane`], its types, and the backplanes that
//! come with the library.
//!
//! An application that runs as a single process needs no backplane. Of several nodes behind a load balancer, each has
//! some of a room's members. A backplane gives the room one order of events, sends the events and the changes of
//! members to all nodes that follow the room (publish/subscribe), and tracks which nodes are alive.
//!
//! A backplane is also the [`Store`](crate::store::Store) of the logs, so that an event is numbered, appended and published in one atomic
//! step, and a node reads events that it missed from the log. [`Local`] connects the servers of one process; `Redis`
//! (feature `redis`) connects processes.

pub(crate) use dialogue_core::backplane::{
    AnyBackplane, AnyNodeMessages, AnySharedLogs, AnySharedMembers, AnySharedRecords,
};
#[doc(inline)]
pub use dialogue_core::backplane::{
    Backplane, Draft, DraftOutcome, Feed, FeedEvents, FeedMessage, FeedSender, Follower, Local, Member,
    MemberChange, MembersUpdate, NodeMessages, Publication, Published, SharedLogs, SharedMembers,
    SharedRecords,
};
