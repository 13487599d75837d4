//! One instance's live fan-out: who reads which room, and the bytes that they share.
//!
//! Nothing in here knows a socket, a request or a user's program. A room [`Instance`] owns its log and its readers, does
//! one thing at a time, and writes what happened to every reader's [`Outbox`]; what drains an outbox is a channel's
//! business.

mod archive;
mod batch;
mod catch_up;
mod chain;
mod declared;
mod hear;
mod inbox;
mod instance;
mod instances;
mod link;
mod listener;
mod members;
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
pub(crate) use inbox::{Command, Publish, Reply};
pub(crate) use instance::Instance;
pub(crate) use link::Link;
pub(crate) use listener::{Heard, Listener};
pub(crate) use outbox::{Cut, Direct, Outbox, Progress};
pub(crate) use peers::{Answer, Attendant, ConnectionAt, Peers, Question};
pub(crate) use registry::{InstanceInfo, Registry, busy, not_found};
pub(crate) use state::{ConnectionId, DELETED, Join, NotJoined, State, Whisper, history};
