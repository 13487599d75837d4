//! The effects of a room's commands: the work that the room's state asks of its surroundings, which
//! [`LiveRoom::carry_out`](crate::live::LiveRoom) does after each command.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster::RoomNotice,
    live::{ConnectionHandle, ConnectionId, Listener, Outbox},
};

/// An effect of a command on what is outside of the room.
#[derive(Debug)]
pub(in crate::live) enum RoomEffect {
    /// The numbers of connections at this node and at others changed.
    Resized { local: usize, remote: usize },
    /// A connection of the user counts at this node, in a cluster.
    MemberJoined(Arc<str>),
    /// A connection of the user no longer counts at this node, in a cluster.
    MemberLeft(Arc<str>),
    /// The other nodes are to be notified.
    NotifyNodes(RoomNotice),
    /// The room's [`timer`](super::RoomCore::timer_fired) is to be called after this time.
    StartTimer(Duration, RoomTimer),
    /// The store's part of the log is to be trimmed.
    TrimStore,
    /// A connection is to request the pages of a replay.
    StartReplay(Arc<Outbox>),
    /// A page of a replay was sent to a connection, or the replay ended; and whether it goes on.
    ReplayPageSent(Arc<Outbox>, bool),
    /// A listener takes the next page of its replay at once.
    RequestPage(ConnectionId),
    /// A page of a replay is to be read from the store, after this position in the log of this epoch.
    FetchPage { connection: ConnectionId, after: u64, epoch: Arc<str> },
    /// Connections that are no longer members are to be sent `left`, with this reason, after the replies to their events.
    SendLeft { handles: Vec<Arc<ConnectionHandle>>, reason: Box<str> },
    /// The room was deleted. Its listeners end after the instance is marked as deleted, since they look whether it is.
    Deleted { listeners: Vec<Arc<Listener>> },
}

/// A timer of a room.
#[derive(Debug)]
pub(crate) enum RoomTimer {
    /// The time of a held event has run out.
    HeldExpiry,
    /// The store is probed again.
    Probe,
    /// The grace period of a user's departure, by its number, ends.
    GracePeriod { user: Arc<str>, departure: u64 },
    /// The gathered presence changes are sent.
    Presence,
}
