//! The events and notices that a joined room delivers to its reader.

use std::fmt;

use super::{Error, ErrorKind};
use crate::{
    delivery::{Delivery, Unreadable},
    room::Room,
    wire::Position,
};

/// An event or a notice from [`RoomClient::incoming`](super::RoomClient::incoming).
#[non_exhaustive]
pub enum Incoming<R: Room> {
    /// A live event.
    Event(Delivery<R::Event>),
    /// An event from before the join, if the room is declared with `sync`; oldest first.
    History(Delivery<R::Event>),
    /// The client has resumed after a lost connection, and no event was lost. Presence changes in between are not
    /// reported: call [`members`](super::RoomClient::members) if they matter.
    Rejoined(Joined),
    /// A user joined or left; only in rooms that declare presence.
    Presence(Presence),
    /// The number of ephemeral events that the server or the client dropped because they were not read fast enough.
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

/// An interruption of a room's sequence of events. [`RoomClient::next`](super::RoomClient::next) returns it as an
/// error, so that it can't be overlooked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Interruption {
    /// The room's log no longer has all events since the last one that this client read. State that the application
    /// derived from earlier events is stale; the events that follow are those after [`Lost::head`].
    Lost(Lost),
    /// An event can't be decoded as declared, for example one of a server of another version. It is skipped, and the
    /// next one follows.
    Unreadable {
        /// The event's name.
        event: String,
        /// The event's sequence number, if it has one.
        seq: Option<u64>,
        /// The error of decoding it.
        error: Error,
    },
    /// The server removed this client from the room; nothing follows.
    Left {
        /// The server's reason.
        reason: Option<String>,
    },
    /// The client has given up, or may not join again; nothing follows.
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
                "the room no longer holds every event after {}; it is at {} now",
                lost.since.seq, lost.head.seq
            ),
            Interruption::Unreadable { event, .. } => {
                write!(f, "the event `{event}` can't be read as declared")
            }
            Interruption::Left { reason: Some(reason) } => {
                write!(f, "the server took the client out of the room: {reason}")
            }
            Interruption::Left { reason: None } => f.write_str("the server took the client out of the room"),
            Interruption::Ended(_) => f.write_str("the client gave the room up"),
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
    /// The position of the last event that the client read.
    pub since: Position,
    /// The position from which events follow. If its [`epoch`](Position::epoch) differs, the room has a new log.
    pub head: Position,
}

/// The outcome of a join.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The room's display name.
    pub name: String,
    /// The outcome of the resume.
    pub resume: Resume,
    /// The head of the room's log at the join.
    pub head: Position,
    /// The number of users in the room; it may lag.
    pub members: u64,
}

/// The outcome of resuming from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// The join had no position.
    Fresh,
    /// All events after the position follow.
    Complete {
        /// The number of events in the log after the position; subscriptions and conflation may leave some of them out.
        replay: u64,
    },
    /// The log no longer has all events after the position.
    Lost,
}

/// A user joined or left a room: with the first or last of the user's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// The user's id.
    pub user_id: String,
    /// The change.
    pub change: Change,
    /// The number of users in the room now.
    pub size: u64,
}

/// The change in a [`Presence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The user joined.
    Joined,
    /// The user left.
    Left,
}
