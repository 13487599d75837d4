//! Delivery: the events of a room on their way to its subscriptions.
//!
//! A [`Batch`] is encoded once for all subscriptions. Each connection has an [`Outbox`], and each handler of server
//! code a [`Listener`]; a [`PublishReply`] tells a sender what became of its event. Nothing here knows a room instance:
//! what sends a replay is a [`ReplaySource`].

mod batch;
mod listener;
mod outbox;
mod reply;

use std::sync::Arc;

pub(super) use batch::Batch;
pub(crate) use listener::{Listener, ListenerReceiver};
pub(crate) use outbox::{DirectWriter, FlushStatus, Outbox, OutboxCloseReason, StreamSlot};
pub(in crate::live) use reply::ReplyQueue;
pub(crate) use reply::{PublishOutcome, PublishReply};

/// The number of a subscriber on this node: a socket, a stream, or a listener in server code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// The sender of a replay.
pub(crate) trait ReplaySource: Send + Sync {
    /// Requests the next page for a subscription, once the previous one has left its queue.
    fn request_page(self: Arc<Self>, connection: ConnectionId);
}
