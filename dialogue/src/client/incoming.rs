//! The items that a joined room delivers: events, notices and interruptions.

use std::fmt;

use super::{Error, ErrorKind};
use crate::{
    event::{Delivery, Unreadable},
    room::Room,
    wire::Position,
};

/// An item that [`RoomClient::incoming`](super::RoomClient::incoming) returns.
#[non_exhaustive]
pub enum Incoming<R: Room> {
    /// A live event.
    Event(Delivery<R::Event>),
    /// An event from before the join, in rooms declared with `sync`; oldest first.
    History(Delivery<R::Event>),
    /// The client has rejoined after an interruption without losing durable events. Presence changes during the
    /// interruption are missing: call [`members`](super::RoomClient::members) where they matter.
    Rejoined(Joined),
    /// A user joined or left; only in rooms that declare presence.
    Presence(Presence),
    /// The number of ephemeral events that were dropped, by the server or by this client, because the reader was too
    /// slow.
    Skipped(u64),
}

impl<R: Room> fmt::Debug for Incoming<R>
where
    R::Event: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Incoming::Event(delivery) => f.debug_tuple("Event").field(delivery).finish(),
            Incoming::History(delivery) => f.debug_tuple("History").field(delivery).finish(),
            Incoming::Rejoined(joined) => f.debug_tuple("Rejoined").field(joined).finish(),
            Incoming::Presence(presence) => f.debug_tuple("Presence").field(presence).finish(),
            Incoming::Skipped(count) => f.debug_tuple("Skipped").field(count).finish(),
        }
    }
}

/// A break in a room's sequence of events, returned as an error by [`RoomClient::next`](super::RoomClient::next) so
/// that it can't be overlooked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Interruption {
    /// The room no longer retains every event since the last one that this client received. State that the application
    /// derived from earlier events is stale; the next events are those after [`Lost::head`].
    Lost(Lost),
    /// An event could not be read as declared, as from a server of another version. It is skipped, and the next call
    /// returns the next event.
    Unreadable {
        /// The event's name.
        event: String,
        /// The event's `seq`; `None` if it has none.
        seq: Option<u64>,
        /// The parse error.
        error: Error,
    },
    /// The server removed this client from the room. Final: no event follows.
    Left {
        /// The server's reason.
        reason: Option<String>,
    },
    /// The client stopped, or was refused a rejoin. Final: no event follows.
    Ended(Error),
}

impl From<Box<Unreadable>> for Interruption {
    fn from(unreadable: Box<Unreadable>) -> Self {
        let (event, seq) = (unreadable.event.clone(), unreadable.seq);
        let error = Error::caused(ErrorKind::Decode, format!("read `{event}`"), unreadable);
        Interruption::Unreadable { event, seq, error }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interruption::Lost(lost) => write!(
                f,
                "the room no longer retains every event after seq {}; its head is at seq {}",
                lost.since.seq, lost.head.seq
            ),
            Interruption::Unreadable { event, .. } => {
                write!(f, "the event `{event}` can't be read as declared")
            }
            Interruption::Left { reason: Some(reason) } => {
                write!(f, "the server removed this client from the room: {reason}")
            }
            Interruption::Left { reason: None } => {
                f.write_str("the server removed this client from the room")
            }
            Interruption::Ended(_) => f.write_str("the client stopped, or was refused a rejoin of the room"),
        }
    }
}

impl std::error::Error for Interruption {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Interruption::Unreadable { error, .. } | Interruption::Ended(error) => Some(error),
            _ => None,
        }
    }
}

/// A gap: events between the two positions may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The position of the last event that the client received.
    pub since: Position,
    /// The position after which events continue. In another [`epoch`](Position::epoch) it belongs to another log.
    pub head: Position,
}

/// The outcome of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The room's display name.
    pub name: String,
    /// The outcome of resuming from the client's position.
    pub resume: Resume,
    /// The head of the room's log at the join.
    pub head: Position,
    /// The number of users in the room; may lag behind.
    pub members: u64,
}

/// The outcome of resuming from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// The join had no position.
    Fresh,
    /// Every event after the position follows.
    Complete {
        /// The number of events in the log after the position; filters and conflation leave some of them out.
        replay: u64,
    },
    /// The log no longer retains every event after the position.
    Lost,
}

/// A change of presence: a user joined or left, counted by user, not by connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The user's id.
    pub user_id: String,
    /// The kind of change.
    pub change: Change,
    /// The number of users in the room after the change.
    pub size: u64,
}

/// The kind of a [`Presence`] change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The user's first connection joined.
    Joined,
    /// The user's last connection left.
    Left,
}
