//! What waits to be done in a room instance.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::{Outbox, state::State};
use crate::{Accepted, Refusal};

/// One thing to do, in its turn.
pub(crate) enum Command {
    /// Take an event into the log.
    Publish(Publish),
    /// Anything else: a join, a look at the log.
    Run(Box<dyn FnOnce(&mut State) + Send>),
}

/// An event that passed the gate.
#[derive(Debug)]
pub(crate) struct Publish {
    /// Which of the room's events it is.
    pub(crate) event: u8,
    /// The payload as JSON.
    pub(crate) data: String,
    pub(crate) conflated: Option<String>,
    pub(crate) from: Arc<str>,
    pub(crate) server: bool,
    /// What the sender put beside it, as JSON.
    pub(crate) meta: Option<Box<str>>,
    /// Makes a retry harmless.
    pub(crate) key: Option<Box<str>>,
    pub(crate) reply: Reply,
}

/// Who is told what became of an event.
pub(crate) enum Reply {
    /// Nobody.
    None,
    /// A connection, by an `ok` with this `id` (as JSON); without one, by an `error` only.
    Frame(Arc<Outbox>, Option<Box<str>>),
    /// Code that waits until it is accepted.
    Wait(oneshot::Sender<Result<Accepted, Refusal>>),
    /// Code that waits until it is delivered, and is told to how many readers of this process.
    Delivered(Delivered),
}

/// See [`Reply::Delivered`].
pub(crate) type Delivered = oneshot::Sender<Result<(Accepted, usize), Refusal>>;

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) commands: Vec<Command>,
    /// Bytes of the payloads in `commands`.
    pub(super) bytes: usize,
    /// Somebody is at it.
    pub(super) running: bool,
    /// Nothing is taken any more: the instance was deleted, or nobody needed it.
    pub(super) retired: bool,
}

impl Command {
    pub(super) fn size(&self) -> usize {
        match self {
            Command::Publish(publish) => {
                publish.data.len() + publish.meta.as_ref().map_or(0, |meta| meta.len())
            }
            Command::Run(_) => 0,
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Publish(_) => "Publish",
            Command::Run(_) => "Run",
        })
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reply::None => "None",
            Reply::Frame(..) => "Frame",
            Reply::Wait(_) => "Wait",
            Reply::Delivered(_) => "Delivered",
        })
    }
}
