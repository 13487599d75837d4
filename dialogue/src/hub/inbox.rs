//! The inbox of a room instance: its commands, the events to publish, and the replies to their senders.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::{
    ConnectionHandle, LiveRoom, Outbox, RoomInstanceInfo, SavedState, StateLock,
    clock::unix_ms,
    delivery::ConnectionId,
    room_core::{RoomCore, RoomTimer},
};
use crate::{
    Code, Refusal,
    backplane::FeedEvents,
    observe::{EventOrigin, Meter, Source},
    store::StoreError,
    wire::{
        Accepted, EventIndex, Id,
        frame::{self, ServerFrame},
    },
};

/// A command for a room instance; its driver runs one at a time.
pub(crate) enum RoomCommand {
    /// Publish an event.
    Publish(PublishRequest),
    /// Run an operation that needs only the room's state: a join, a read of the log.
    Run(Box<Operation>),
    /// Run a timer that the room has started.
    Timer(RoomTimer),
    /// Add the room to the catalog, with this info; the reply is whether it is new.
    Create(RoomInstanceInfo, oneshot::Sender<Result<bool, StoreError>>),
    /// Save a changed state.
    SaveState(StateChange, oneshot::Sender<Result<(), Refusal>>),
    /// Delete the room, and remove its connections for this reason. The reply has these connections, or nothing if the
    /// room was deleted already.
    Delete(&'static str, oneshot::Sender<Result<Option<Vec<Arc<ConnectionHandle>>>, Refusal>>),
    /// Add events that other nodes published.
    Receive(Box<FeedEvents>),
    /// Another node reports the room's deletion, which only closes a room that the catalog never had: a catch-up finds
    /// out about others.
    Deleted,
    /// Compare the room with the store, since messages of other nodes may have been lost.
    CatchUp,
    /// Read the end of the log from the store, and send a signal when that is done.
    ProbeStore(oneshot::Sender<()>),
    /// Wait until the sender of the second channel is dropped; the first one tells that the wait has begun.
    #[cfg(test)]
    Pause(oneshot::Sender<()>, oneshot::Receiver<()>),
}

/// See [`RoomCommand::Run`]. It gets the instance too, to carry out its effects before it replies.
pub(super) type Operation = dyn FnOnce(&mut RoomCore, &Arc<LiveRoom>) + Send;

/// A change of a room's saved state.
pub(crate) struct StateChange {
    /// Held if other nodes may change the state too, in which case it is read again before the change.
    pub(super) lock: Option<StateLock>,
    pub(super) change: Box<ChangeState>,
}

/// Returns the new state as JSON.
pub(super) type ChangeState = dyn FnOnce(&SavedState) -> Result<Vec<u8>, Refusal> + Send;

/// A request to publish an event, after it passed ingest.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    pub(crate) event: NewEvent,
    pub(crate) origin: EventOrigin,
    /// The outbox of the connection that sent it, where the [reply](Self::reply) doesn't name it.
    pub(crate) sender_outbox: Option<Arc<Outbox>>,
    pub(crate) reply: PublishReply,
}

/// An event that its room has not numbered yet.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// The index of the event among those of the room.
    pub(crate) index: EventIndex,
    /// The payload as JSON.
    pub(crate) data: String,
    /// The key of a `latest` event: a newer event with the same key replaces this one.
    pub(crate) conflation_key: Option<String>,
    pub(crate) from: Arc<str>,
    pub(crate) server: bool,
    /// The sender's metadata, as JSON.
    pub(crate) meta: Option<Box<str>>,
    /// The idempotency key of the sender's request, in its scope.
    pub(crate) key: Option<Box<str>>,
    /// The event's id, where it is known before the event is accepted.
    pub(crate) event_id: Option<Id>,
}

/// An event for some connections only, in no log.
#[derive(Debug)]
pub(crate) struct TargetedEvent {
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    pub(crate) to: Vec<ConnectionId>,
}

/// The receiver of an event's outcome.
#[derive(Default)]
pub(crate) enum PublishReply {
    /// No receiver.
    #[default]
    None,
    /// A connection: `ok` or `error` with this `id` (as JSON); without an id, only `error`.
    Frame(Arc<Outbox>, Option<Box<str>>),
    /// A caller that waits until the event is accepted.
    Accepted(oneshot::Sender<PublishOutcome>),
    /// A caller that waits until the event is delivered, and gets the number of its recipients on this node.
    Delivered(oneshot::Sender<PublishOutcome>),
}

/// The outcome of an event for a caller that waits for it: its acceptance, and the number of subscriptions that it was
/// handed to; 0 for a caller that waits for the acceptance only.
pub(crate) type PublishOutcome = Result<(Accepted, usize), Refusal>;

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) commands: Vec<RoomCommand>,
    /// Bytes of the payloads in `commands`.
    pub(super) bytes: usize,
    /// Set while a driver runs, or the instance is being opened.
    pub(super) running: bool,
    /// Set once the inbox is closed: the instance was deleted, superseded or idle, or failed.
    pub(super) closed: bool,
}

impl RoomCommand {
    /// Creates a command that runs `f`, carries out its effects, and sends its result to the receiver.
    pub(super) fn run<T: Send + 'static>(
        f: impl FnOnce(&mut RoomCore, &Arc<LiveRoom>) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let run = move |core: &mut RoomCore, instance: &Arc<LiveRoom>| {
            let result = f(core, instance);
            instance.carry_out(core);
            // The caller may have dropped its future.
            let _ = sender.send(result);
        };
        (RoomCommand::Run(Box::new(run)), receiver)
    }

    pub(super) fn size(&self) -> usize {
        match self {
            RoomCommand::Publish(publish) => {
                publish.event.data.len() + publish.event.meta.as_ref().map_or(0, |meta| meta.len())
            }
            RoomCommand::Receive(feed) => feed.events.iter().map(|event| event.data.len()).sum(),
            RoomCommand::Run(_)
            | RoomCommand::Timer(_)
            | RoomCommand::Create(..)
            | RoomCommand::SaveState(..)
            | RoomCommand::Delete(..)
            | RoomCommand::Deleted
            | RoomCommand::CatchUp
            | RoomCommand::ProbeStore(_) => 0,
            #[cfg(test)]
            RoomCommand::Pause(..) => 0,
        }
    }
}

impl TargetedEvent {
    /// Creates an event with a fresh id and the current time.
    pub(crate) fn new(to: Vec<ConnectionId>) -> Self {
        TargetedEvent { event_id: Id::fresh(), timestamp: unix_ms(), to }
    }

    /// Returns the acknowledgement for the sender.
    pub(crate) fn accepted(&self) -> Accepted {
        let (event_id, timestamp) = (self.event_id.as_str().to_owned(), self.timestamp);
        Accepted { seq: None, event_id, timestamp, duplicate: false }
    }
}

impl PublishRequest {
    /// Returns whether the event may no longer be accepted: while it waited, the application removed its connection, or
    /// the token expired.
    pub(super) fn is_revoked(&self) -> bool {
        self.connection().is_some_and(|outbox| outbox.is_revoked())
    }

    /// The outbox of the connection that sent the event, if one did.
    pub(super) fn connection(&self) -> Option<&Arc<Outbox>> {
        match &self.reply {
            PublishReply::Frame(outbox, _) => Some(outbox),
            _ => self.sender_outbox.as_ref(),
        }
    }

    /// Refuses the event; returns the outbox that now has a queued reply.
    pub(super) fn refuse(self, meter: &Meter, refusal: Refusal) -> Option<Arc<Outbox>> {
        self.reply.refuse(meter, self.origin.source, refusal)
    }
}

impl PublishReply {
    /// Sends a refusal and counts it, as [`send`](Self::send) sends an outcome.
    pub(super) fn refuse(self, meter: &Meter, source: Source, refusal: Refusal) -> Option<Arc<Outbox>> {
        // A caller counts the refusal itself.
        if let PublishReply::Frame(..) = self {
            meter.refused_later(source, &refusal);
        }
        self.send(Err(refusal))
    }

    /// Sends the outcome of an event at once.
    pub(crate) fn send_now(self, outcome: PublishOutcome) {
        match self {
            // The caller may have dropped its future, here and below.
            PublishReply::Accepted(sender) | PublishReply::Delivered(sender) => _ = sender.send(outcome),
            reply => {
                let outbox = reply.send(outcome.map(|(accepted, _)| accepted));
                outbox.inspect(|outbox| outbox.flush_queued());
            }
        }
    }

    /// Sends the outcome of an event without recipients; returns the outbox that now has a queued reply.
    pub(super) fn send(self, outcome: Result<Accepted, Refusal>) -> Option<Arc<Outbox>> {
        match self {
            PublishReply::None => None,
            PublishReply::Accepted(sender) | PublishReply::Delivered(sender) => {
                let _ = sender.send(outcome.map(|accepted| (accepted, 0)));
                None
            }
            PublishReply::Frame(outbox, id) => {
                match (outcome, &id) {
                    (Ok(accepted), Some(id)) => outbox.queue(&accepted.encode_ok(Some(id))),
                    (Ok(_), None) => return None,
                    (Err(refusal), id) => {
                        let id = id.as_deref().and_then(|id| serde_json::from_str(id).ok());
                        outbox.queue(&frame::Error::from(&refusal).encode(id));
                    }
                }
                Some(outbox)
            }
        }
    }
}

/// Returns the refusal of a request about a room that its connection isn't in.
pub(crate) fn not_in_room() -> Refusal {
    Refusal::new(Code::NotInRoom, "join the room first")
}

/// Returns the refusal of an event whose connection was removed or whose token expired before the event was accepted.
pub(crate) fn revoked() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the connection ended before the event was accepted")
}

impl fmt::Debug for RoomCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoomCommand::Publish(_) => "Publish",
            RoomCommand::Run(_) => "Run",
            RoomCommand::Timer(_) => "Timer",
            RoomCommand::Create(..) => "Create",
            RoomCommand::SaveState(..) => "SaveState",
            RoomCommand::Delete(..) => "Delete",
            RoomCommand::Receive(_) => "Receive",
            RoomCommand::Deleted => "Deleted",
            RoomCommand::CatchUp => "CatchUp",
            RoomCommand::ProbeStore(_) => "ProbeStore",
            #[cfg(test)]
            RoomCommand::Pause(..) => "Pause",
        })
    }
}

impl fmt::Debug for PublishReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PublishReply::None => "None",
            PublishReply::Frame(..) => "Frame",
            PublishReply::Accepted(_) => "Accepted",
            PublishReply::Delivered(_) => "Delivered",
        })
    }
}
