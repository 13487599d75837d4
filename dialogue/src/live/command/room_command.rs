//! One command of any kind.

use std::fmt;

#[cfg(test)]
use super::Reply;
use super::{RoomChange, RoomRead, StoreOperation};
use crate::live::room::PublishRequest;
#[cfg(test)]
use crate::live::room::RoomCore;

/// A command for a room instance; its driver runs one at a time.
pub(crate) enum RoomCommand {
    /// Publish an event.
    Publish(PublishRequest),
    /// Change the room's state in memory.
    Change(RoomChange),
    /// Read the room's state in memory.
    Read(RoomRead),
    /// Change or compare the room together with the store.
    Store(StoreOperation),
    /// Wait until the sender of the second channel is dropped; the first one tells that the wait has begun.
    #[cfg(test)]
    Pause(tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>),
    /// Run an operation, then carry out its effects, then run what it returned.
    #[cfg(test)]
    Run(Box<TestOperation>),
}

/// An operation of a test on the core; what it returns runs once its effects were carried out.
#[cfg(test)]
pub(in crate::live) type TestOperation = dyn FnOnce(&mut RoomCore) -> Box<dyn FnOnce() + Send> + Send;

impl RoomCommand {
    /// Returns the bytes of the command's payloads.
    pub(in crate::live) fn size(&self) -> usize {
        match self {
            RoomCommand::Publish(publish) => {
                publish.event.data.len() + publish.event.meta.as_ref().map_or(0, |meta| meta.len())
            }
            RoomCommand::Store(StoreOperation::Receive(feed)) => {
                feed.events.iter().map(|event| event.data.len()).sum()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
impl RoomCommand {
    /// Runs an operation on the core, and sends its result.
    pub(crate) fn run<T: Send + 'static>(
        f: impl FnOnce(&mut RoomCore) -> T + Send + 'static,
        reply: Option<Reply<T>>,
    ) -> Self {
        RoomCommand::Run(Box::new(move |core| {
            let result = f(core);
            Box::new(move || drop(reply.map(|reply| reply.send(result))))
        }))
    }
}

impl From<RoomChange> for RoomCommand {
    fn from(change: RoomChange) -> Self {
        RoomCommand::Change(change)
    }
}

impl From<RoomRead> for RoomCommand {
    fn from(read: RoomRead) -> Self {
        RoomCommand::Read(read)
    }
}

impl From<StoreOperation> for RoomCommand {
    fn from(operation: StoreOperation) -> Self {
        RoomCommand::Store(operation)
    }
}

impl fmt::Debug for RoomCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoomCommand::Publish(_) => "Publish",
            RoomCommand::Change(_) => "Change",
            RoomCommand::Read(_) => "Read",
            RoomCommand::Store(_) => "Store",
            #[cfg(test)]
            RoomCommand::Pause(..) => "Pause",
            #[cfg(test)]
            RoomCommand::Run(_) => "Run",
        })
    }
}
