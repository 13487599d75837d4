//! The cluster: this node's connection to the other nodes of the deployment, for its rooms.
//!
//! Events that other nodes publish come out of the backplane's [`Feed`] and go to this node's [`SharedRooms`]. This node
//! publishes its members of each room in its local roster, and a room keeps those of other nodes in a remote roster
//! beside its own members. Heads of logs are compared in rounds (anti-entropy), since a feed may lose messages. An
//! operation on a user's connections is requested from every node. The work of a node that left is taken over.
//! The [`Backplane`](backplane::Backplane) is the transport.
//!
//! Nothing here knows a live room or a connection: rooms, the engine and push call this module, and implement its
//! traits for what it calls.

mod anti_entropy;
pub mod backplane;
mod feed;
mod link;
mod local_roster;
mod members;
mod message;
mod node_request;
mod pending_requests;
mod remote_roster;
mod requests;
mod shared_rooms;
mod state_lock;
mod takeover;

pub(crate) use link::{Cluster, FollowGuard};
pub(crate) use members::PlaceReservation;
pub(crate) use message::RoomNotice;
pub(crate) use node_request::{NodeRequest, NodeRequestHandler, NodeResponse, RemoteConnection};
pub(crate) use remote_roster::{RemoteRoster, RosterChange};
pub(crate) use shared_rooms::{HeadMark, SharedRooms, id_prefix};
pub(crate) use state_lock::{LockRecords, StateLock};
pub(crate) use takeover::JOIN_SETTLE_TIME;

use link::{SERVER_ROOM, with_timeout};
use message::NodeMessage;
