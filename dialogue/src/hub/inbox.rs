//! What waits to be done in a room instance.

use std::{fmt, pin::Pin, sync::Arc};

use tokio::sync::oneshot;

use super::{Outbox, state::State};
use crate::{
    Accepted, Code, Refusal,
    backplane::FeedEvents,
    observe::{EventOrigin, Meter, Source},
    wire::{Id, frame},
};

/// One thing to do, in its turn.
pub(crate) enum Command {
    /// Take an event into the log.
    Publish(Publish),
    /// Anything else: a join, a look at the log.
    Run(Box<dyn FnOnce(&mut State) + Send>),
    /// What the store has a part in.
    Wait(Box<Waiting>),
    /// Take events that others put into the log.
    Hear(Box<FeedEvents>),
    /// Find out what was missed of the others.
    CatchUp,
    /// Ask the store where the log ends, and say when that is done.
    Look(oneshot::Sender<()>),
}

/// See [`Command::Wait`]. It ends in a bounded time, since all that asks the store does.
pub(super) type Waiting =
    dyn for<'a> FnOnce(&'a mut State) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> + Send;

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
    /// What the event is to be called, where somebody has to know before it is accepted.
    pub(crate) event_id: Option<Id>,
    pub(crate) origin: EventOrigin,
    /// The connection that sent it, where the [reply](Self::reply) doesn't name it.
    pub(crate) by: Option<Arc<Outbox>>,
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
    /// Does `f`; what that yields comes out of the receiver.
    pub(super) fn run<T: Send + 'static>(
        f: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let run = move |state: &mut State| {
            // Whoever asked may be gone.
            let _ = sender.send(f(state));
        };
        (Command::Run(Box::new(run)), receiver)
    }

    /// The same of what the store has a part in.
    pub(super) fn wait<T: Send + 'static>(
        f: impl for<'a> FnOnce(&'a mut State) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let command = Command::Wait(Box::new(move |state| {
            Box::pin(async move {
                // Whoever asked may be gone.
                let _ = sender.send(f(state).await);
            })
        }));
        (command, receiver)
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Command::Publish(publish) => {
                publish.data.len() + publish.meta.as_ref().map_or(0, |meta| meta.len())
            }
            Command::Hear(told) => told.events.iter().map(|event| event.data.len()).sum(),
            Command::Run(_) | Command::Wait(_) | Command::CatchUp | Command::Look(_) => 0,
        }
    }
}

impl Publish {
    /// Returns whether the event may no longer be carried out: while it waited, the application removed its connection,
    /// or the token expired.
    pub(super) fn is_revoked(&self) -> bool {
        self.connection().is_some_and(|outbox| outbox.is_revoked())
    }

    /// The outbox of the connection that sent the event, if one did.
    pub(super) fn connection(&self) -> Option<&Arc<Outbox>> {
        match &self.reply {
            Reply::Frame(outbox, _) => Some(outbox),
            _ => self.by.as_ref(),
        }
    }

    /// Says that it doesn't get into its room; yields the outbox that a frame now waits in.
    pub(super) fn turn_down(self, meter: &Meter, refusal: Refusal) -> Option<Arc<Outbox>> {
        self.reply.turn_down(meter, self.origin.source, refusal)
    }
}

impl Reply {
    /// Says that the event doesn't get into its room, as [`give`](Self::give) does.
    pub(super) fn turn_down(self, meter: &Meter, source: Source, refusal: Refusal) -> Option<Arc<Outbox>> {
        // Who waits for an answer counts it.
        if let Reply::Frame(..) = self {
            meter.refused_later(source, &refusal);
        }
        self.give(Err(refusal))
    }

    /// Says what became of the event; yields the outbox that a frame now waits in.
    pub(super) fn give(self, outcome: Result<Accepted, Refusal>) -> Option<Arc<Outbox>> {
        match self {
            Reply::None => None,
            Reply::Delivered(waiting) => {
                // What is no event, but was one before, has nobody to be delivered to.
                let _ = waiting.send(outcome.map(|accepted| (accepted, 0)));
                None
            }
            Reply::Wait(waiting) => {
                // Whoever asked may be gone.
                let _ = waiting.send(outcome);
                None
            }
            Reply::Frame(outbox, id) => {
                match (outcome, &id) {
                    (Ok(accepted), Some(id)) => outbox.queue("ok", &frame::accepted(id, &accepted)),
                    (Ok(_), None) => return None,
                    (Err(refusal), id) => {
                        let id = id.as_deref().and_then(|id| serde_json::from_str(id).ok());
                        let error = frame::Frame::new("error", id, frame::Error::from(&refusal));
                        outbox.queue("error", &error.encode());
                    }
                }
                Some(outbox)
            }
        }
    }
}

/// The refusal of a request about a room that its connection is not in.
pub(crate) fn not_in_room() -> Refusal {
    Refusal::new(Code::NotInRoom, "join the room first")
}

/// The refusal of what a connection had sent that may no longer send anything.
pub(crate) fn revoked() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the connection ended before the event was accepted")
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Publish(_) => "Publish",
            Command::Run(_) => "Run",
            Command::Wait(_) => "Wait",
            Command::Hear(_) => "Hear",
            Command::CatchUp => "CatchUp",
            Command::Look(_) => "Look",
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
