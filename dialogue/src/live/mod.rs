//! Live rooms: the room instances in memory, their subscriptions, and the delivery of events to connections.
//!
//! A [`LiveRoom`] owns a room instance's log and subscriptions. A [`RoomDriver`](driver::RoomDriver) runs its commands
//! one at a time (an actor without a permanent task), and writes each batch of events to the [`Outbox`] of every
//! member; the channel that owns the connection drains the outbox. The [`Registry`] opens and closes instances, the
//! [`Archive`] is their part in the store, and the [`Cluster`](crate::cluster::Cluster) connects them with the same rooms at other nodes.
//!
//! From the bottom up: `delivery`, `connection`, `room` (the state machine), `command`, `archive`, `context` (what the
//! rooms of a node share), `quota`, `live_room` with its `requests`, `driver`, `registry`, `join`. A lower part knows no
//! higher one: a room has its owner as a trait, and the entry to its driver as a function pointer.
//!
//! Nothing in this module knows a socket, a request or the application's types.

mod access;
mod archive;
mod audit_log;
mod clock;
mod command;
mod connection;
mod context;
mod delivery;
mod driver;
mod history;
mod join;
mod live_room;
mod migration;
mod quota;
mod receive;
mod registry;
mod requests;
mod room;
mod room_spec;
mod scan_backoff;
#[cfg(test)]
mod tests;
mod user_connections;

pub(crate) use access::Access;
pub(crate) use archive::Archive;
pub(crate) use audit_log::AuditedEvent;
pub(crate) use clock::unix_ms;
#[cfg(test)]
pub(crate) use command::StoreOperation;
pub(crate) use command::{RoomChange, RoomCommand, RoomRead};
pub(crate) use connection::ConnectionHandle;
pub(crate) use delivery::{
    ConnectionId, DirectWriter, FlushStatus, Listener, ListenerReceiver, Outbox, OutboxCloseReason,
    PublishOutcome, PublishReply, StreamSlot,
};
pub(crate) use join::JoinOutcome;
pub(crate) use live_room::LiveRoom;
pub(crate) use quota::{NewRoomBounds, Opener};
pub(crate) use registry::{Registry, RegistryObserver, RoomListPage, not_found};
#[cfg(test)]
pub(crate) use room::RoomCore;
pub(crate) use room::{
    DELETED_REASON, JoinOptions, JoinRequest, NewEvent, PublishRequest, SavedState, SubscriptionChange,
    TargetedEvent, busy, history, not_in_room, revoked, unavailable,
};
pub(crate) use room_spec::{RoomInstanceInfo, RoomSpec};
pub(crate) use user_connections::UserConnections;
