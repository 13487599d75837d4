//! One instance's live fan-out: who reads which room, and the bytes that they share.
//!
//! Nothing in here knows a socket, a request or a user's program. A room [`Instance`] owns its log and its readers, does
//! one thing at a time, and writes what happened to every reader's [`Outbox`]; what drains an outbox is a channel's
//! business.

mod archive;
mod backoff;
mod batch;
mod catch_up;
mod chain;
mod declared;
mod deleted;
mod hear;
mod inbox;
mod instance;
mod instances;
mod link;
mod listener;
mod members;
mod moving;
mod newcomers;
mod opening;
mod outbox;
mod peers;
mod presence;
mod reading;
mod registry;
mod settle;
mod share;
mod state;
#[cfg(test)]
mod tests;
mod turn;
mod upkeep;

pub(crate) use archive::{Archive, Saved, StateLock};
pub(crate) use chain::Said;
pub(crate) use declared::RoomDecl;
pub(crate) use inbox::{Command, Publish, Reply, not_in_room, revoked};
pub(crate) use instance::Instance;
pub(crate) use link::Link;
pub(crate) use listener::{Heard, Listener};
pub(crate) use newcomers::{Maker, NewBounds};
pub(crate) use outbox::{Cut, Direct, Outbox, Progress};
pub(crate) use peers::{Answer, Attendant, ConnectionAt, Peers, Question};
pub(crate) use registry::{Audience, InstanceInfo, Listed, Registry, busy, not_found};
pub(crate) use state::{ConnectionId, DELETED, Join, NotJoined, State, Whisper, history, unavailable};
