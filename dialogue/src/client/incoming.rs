//! What a room's client is told.

use std::fmt;

use super::{Error, ErrorKind};
use crate::{
    delivery::{Delivery, Unreadable},
    room::Room,
    wire::Position,
};

/// Something that [`RoomClient::incoming`](super::RoomClient::incoming) yields.
#[non_exhaustive]
pub enum Incoming<R: Room> {
    /// An event, as it happened.
    Event(Delivery<R::Event>),
    /// An event from before the join, where the room is declared with `sync`; oldest first.
    History(Delivery<R::Event>),
    /// The client is back after an interruption, and nothing was lost. Presence changes in between were not seen: ask
    /// [`members`](super::RoomClient::members) where they matter.
    Rejoined(Joined),
    /// Somebody came or went; only in rooms that declare presence.
    Presence(Presence),
    /// So many ephemeral events were dropped, by the server or here, because they were not taken fast enough.
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

/// Why a room's events don't simply go on: what [`RoomClient::next`](super::RoomClient::next) yields as an error, so that
/// nobody can overlook it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Interruption {
    /// The room no longer holds every event since the last one that this client saw. What the application derived from
    /// earlier events is stale; the events that follow are those after [`Lost::head`].
    Lost(Lost),
    /// An event came that can't be read as what was declared, as from a server of another version; it is left out, and
    /// the next one follows.
    Unreadable {
        /// Its name.
        event: String,
        /// Its number, where it has one.
        seq: Option<u64>,
        /// What is wrong with it.
        error: Error,
    },
    /// The server took this client out of the room; nothing follows.
    Left {
        /// What the server said.
        reason: Option<String>,
    },
    /// The client gave up, or may not join again; nothing follows.
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
    /// What the client had seen last.
    pub since: Position,
    /// Where it goes on. In another [`epoch`](Position::epoch) the room's log itself is another one.
    pub head: Position,
}

/// How a join went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joined {
    /// The room's name for people.
    pub name: String,
    /// Whether what the client had seen before still holds.
    pub resume: Resume,
    /// Where the room's log was.
    pub head: Position,
    /// How many users are in it; may lag.
    pub members: u64,
}

/// What became of the position that a join went on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resume {
    /// There was none.
    Fresh,
    /// Every event after it follows.
    Complete {
        /// How many the log holds after it; subscriptions and conflation leave some of them out.
        replay: u64,
    },
    /// The log no longer holds all of them.
    Lost,
}

/// Somebody came or went: a user, not one connection of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Presence {
    /// Who.
    pub user_id: String,
    /// Which of the two.
    pub change: Change,
    /// How many users are in the room now.
    pub size: u64,
}

/// What [`Presence`] says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Came.
    Joined,
    /// Went.
    Left,
}
