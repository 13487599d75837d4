//! Live rooms: the room instances in memory, their subscriptions, and the delivery of events to connections.
//!
//! A [`LiveRoom`] owns a room instance's log and subscriptions. A [`RoomDriver`](driver::RoomDriver) runs its commands
//! one at a time (an actor without a permanent task), and writes each batch of events to the [`Outbox`] of every
//! member; the channel that owns the connection drains the outbox. The [`Registry`] opens and closes instances, the
//! [`Archive`] is their part in the store, and the [`Cluster`] connects them with the same rooms at other nodes.
//!
//! Nothing in this module knows a socket, a request or the application's types.

mod archive;
mod audit_log;
mod catch_up;
mod clock;
mod cluster;
mod connection;
mod deletions;
mod delivery;
mod driver;
mod effects;
mod history;
mod inbox;
mod join;
mod live_room;
mod live_rooms;
mod maintenance;
mod members;
mod migration;
mod new_rooms;
mod opening;
mod presence;
mod probe;
mod publish;
mod registry;
mod remote;
mod room_core;
mod room_spec;
mod scan_backoff;
mod stored_changes;
#[cfg(test)]
mod tests;

pub(crate) use archive::{Archive, SavedState, StateLock};
pub(crate) use audit_log::AuditedEvent;
pub(crate) use cluster::{Cluster, NodeRequest, NodeRequestHandler, NodeResponse, RemoteConnection};
pub(crate) use connection::ConnectionHandle;
pub(crate) use delivery::{
    ConnectionId, DirectWriter, FlushStatus, Listener, ListenerReceiver, Outbox, OutboxCloseReason,
    StreamSlot,
};
pub(crate) use inbox::{
    NewEvent, PublishOutcome, PublishReply, PublishRequest, RoomCommand, TargetedEvent, not_in_room, revoked,
};
pub(crate) use join::{JoinOptions, JoinOutcome, JoinRequest};
pub(crate) use live_room::LiveRoom;
pub(crate) use new_rooms::{NewRoomBounds, Opener};
pub(crate) use registry::{Registry, RegistryObserver, RoomListPage, busy, not_found};
pub(crate) use room_core::{DELETED_REASON, RoomCore, history, unavailable};
pub(crate) use room_spec::{RoomInstanceInfo, RoomSpec};
