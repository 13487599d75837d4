//! The commands of a room instance, as data: what a [`LiveRoom`](super::LiveRoom) queues and its
//! [`RoomDriver`](super::driver::RoomDriver) runs.
//!
//! There are four kinds: an event to publish, a [`RoomChange`] and a [`RoomRead`] of the room in memory, and a
//! [`StoreOperation`]. Nothing here knows what runs them.

mod change;
mod inbox;
mod read;
mod room_command;
mod store_operation;

pub(crate) use change::RoomChange;
pub(in crate::live) use change::Unreadable;
pub(in crate::live) use inbox::Inbox;
pub(crate) use read::RoomRead;
pub(crate) use room_command::RoomCommand;
#[cfg(test)]
pub(in crate::live) use room_command::TestOperation;
pub(crate) use store_operation::{StateChange, StoreOperation};

/// The sender of a command's reply, which the driver sends after it carried out the command's effects.
pub(crate) type Reply<T> = tokio::sync::oneshot::Sender<T>;
