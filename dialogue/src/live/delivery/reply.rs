//! Replies to the senders of events.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::Outbox;
use crate::{
    Refusal,
    wire::{
        Accepted,
        frame::{self, ServerFrame},
    },
};

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

/// The outcome of an event: its acceptance, and for a caller that waits for its delivery the number of subscriptions
/// that it was handed to; 0 for all others.
pub(crate) type PublishOutcome = Result<(Accepted, usize), Refusal>;

/// Replies on their way: those to connections are written together with the next events, and callers that wait for a
/// delivery get theirs after it.
#[derive(Default)]
pub(in crate::live) struct ReplyQueue {
    /// Outboxes with a queued reply that isn't written yet.
    outboxes: Vec<Arc<Outbox>>,
    awaiting_delivery: Vec<(oneshot::Sender<PublishOutcome>, PublishOutcome)>,
}

impl ReplyQueue {
    /// Queues the outcome of an event; a caller that waits for the acceptance only gets it at once.
    pub(in crate::live) fn push(&mut self, reply: PublishReply, outcome: PublishOutcome) {
        match reply {
            PublishReply::None => {}
            PublishReply::Accepted(sender) => send(sender, outcome),
            PublishReply::Delivered(sender) => self.awaiting_delivery.push((sender, outcome)),
            PublishReply::Frame(outbox, id) => {
                if queue_frame(&outbox, id, outcome)
                    && self.outboxes.last().is_none_or(|last| !Arc::ptr_eq(last, &outbox))
                {
                    self.outboxes.push(outbox);
                }
            }
        }
    }

    /// Writes the replies that went out with no event, and answers the callers that wait for a delivery.
    pub(in crate::live) fn flush(&mut self) {
        self.outboxes.drain(..).for_each(|outbox| outbox.flush_queued());
        self.awaiting_delivery.drain(..).for_each(|(sender, outcome)| send(sender, outcome));
    }
}

impl PublishReply {
    /// Returns whether the room counts a refusal that it sends; a caller that waits for one counts it itself.
    pub(in crate::live) fn is_uncounted(&self) -> bool {
        matches!(self, PublishReply::Frame(..))
    }

    /// Returns the reply for an outcome without a delivery, for which the caller need not wait.
    pub(in crate::live) fn without_delivery(self) -> Self {
        match self {
            PublishReply::Delivered(sender) => PublishReply::Accepted(sender),
            reply => reply,
        }
    }

    /// Sends the outcome of an event at once.
    pub(crate) fn send_now(self, outcome: PublishOutcome) {
        let mut replies = ReplyQueue::default();
        replies.push(self, outcome);
        replies.flush();
    }
}

fn send(sender: oneshot::Sender<PublishOutcome>, outcome: PublishOutcome) {
    // The caller may have dropped its future.
    let _ = sender.send(outcome);
}

/// Queues `ok` or `error`; returns whether there is something to write.
fn queue_frame(outbox: &Outbox, id: Option<Box<str>>, outcome: PublishOutcome) -> bool {
    match (outcome, &id) {
        (Ok((accepted, _)), Some(id)) => outbox.queue(&accepted.encode_ok(Some(id))),
        (Ok(_), None) => return false,
        (Err(refusal), id) => {
            let id = id.as_deref().and_then(|id| serde_json::from_str(id).ok());
            outbox.queue(&frame::Error::from(&refusal).encode(id));
        }
    }
    true
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
