//! The messages of other nodes: a bounded queue between a backplane and its server.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::MemberChange;
use crate::{store::StoredEvent, wire::Id};

/// A message to this node about a room that it follows, or about the deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedMessage {
    /// Events were published to a room.
    Events(FeedEvents),
    /// A node sent a message that is in no log ([`NodeMessages::send`](super::NodeMessages::send)).
    Message {
        /// The id of the room instance.
        room_id: Arc<str>,
        /// The node that sent it.
        node: Id,
        /// The message's bytes.
        message: Bytes,
    },
    /// The members changed that a room has at a node.
    Members {
        /// The id of the room instance.
        room_id: Arc<str>,
        /// The node whose members changed.
        node: Id,
        /// The changes, each user at most once.
        changes: Vec<MemberChange>,
    },
    /// Messages about this room may have been lost: the server compares its head and members with the backplane's.
    Gap(Arc<str>),
    /// All nodes of the deployment, this one included. The members at all other nodes are gone.
    Nodes(BTreeSet<Id>),
    /// The other nodes took this one for dead, and have forgotten its members: it has to record them again.
    Forgotten,
}

/// Events that a node published to a room in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedEvents {
    /// The id of the room instance.
    pub room_id: Arc<str>,
    /// The node that published them.
    pub node: Id,
    /// The epoch of the log.
    pub epoch: Arc<str>,
    /// The number of the event before them.
    pub after: u64,
    /// The id of that event, if it is known. A node that has another event at that number has a log that was replaced.
    pub after_id: Option<Id>,
    /// The events in their order. Events of number 0 are in no log.
    pub events: Vec<StoredEvent>,
}

impl FeedEvents {
    /// Returns events that follow event number `after`, whose id is unknown.
    pub fn new(room_id: Arc<str>, node: Id, epoch: Arc<str>, after: u64, events: Vec<StoredEvent>) -> Self {
        FeedEvents { room_id, node, epoch, after, after_id: None, events }
    }
}

/// The receiving end of the messages of other nodes, in order within each room.
///
/// It holds at most 16,384 messages. A message that doesn't fit is dropped, and the room's next message is a
/// [`FeedMessage::Gap`].
#[derive(Debug)]
pub struct Feed {
    messages: mpsc::Receiver<FeedMessage>,
    gaps: Gaps,
    follower: Follower,
    left: watch::Receiver<bool>,
}

/// A handle by which a server selects the rooms about which it receives messages.
#[derive(Clone)]
pub struct Follower(Arc<dyn Fn(Arc<str>, bool) + Send + Sync>);

/// The sending end of a [`Feed`], which a backplane holds.
#[derive(Debug, Clone)]
pub struct FeedSender {
    messages: mpsc::Sender<FeedMessage>,
    gaps: Gaps,
    left: watch::Sender<bool>,
}

/// The rooms of which a message was dropped.
type Gaps = Arc<Mutex<BTreeSet<Arc<str>>>>;

/// The time that [`Feed::leave`] waits at most.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum of messages in a feed.
const MAX_FEED_MESSAGES: usize = 16 << 10;

impl Feed {
    /// Returns a feed and its sending end. `follow` is called with the id of a room and `true` when the server begins
    /// to follow it, and with `false` when it ends; it must not block.
    pub fn new(follow: impl Fn(Arc<str>, bool) + Send + Sync + 'static) -> (Self, FeedSender) {
        let (sender, messages) = mpsc::channel(MAX_FEED_MESSAGES);
        let gaps = Gaps::default();
        let follower = Follower(Arc::new(follow));
        let (leaves, left) = watch::channel(false);
        let feed = Feed { messages, gaps: Arc::clone(&gaps), follower, left };
        (feed, FeedSender { messages: sender, gaps, left: leaves })
    }

    /// Returns the handle that follows rooms.
    pub fn follower(&self) -> Follower {
        self.follower.clone()
    }

    /// Ends the feed, and waits until the other nodes know that this one has left: for a second at most. After that
    /// they find out by its missing heartbeat.
    pub async fn leave(mut self) {
        self.messages.close();
        let _ = timeout(LEAVE_TIMEOUT, self.left.wait_for(|left| *left)).await;
    }

    /// Returns the next message, or `None` once the backplane has dropped the sending end.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped loses no message.
    pub async fn next(&mut self) -> Option<FeedMessage> {
        match self.messages.try_recv() {
            Ok(message) => return Some(message),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        // A gap comes after all messages that were queued before it.
        let gap = self.gaps.lock().pop_first();
        match gap {
            Some(room_id) => Some(FeedMessage::Gap(room_id)),
            None => self.messages.recv().await,
        }
    }
}

impl Follower {
    /// Begins to follow a room. The backplane sends a [`FeedMessage::Gap`] for it once it receives the room's messages,
    /// and those messages from then on.
    pub fn follow(&self, room_id: Arc<str>) {
        (self.0)(room_id, true);
    }

    /// Ends following a room.
    pub fn unfollow(&self, room_id: Arc<str>) {
        (self.0)(room_id, false);
    }
}

impl FeedSender {
    /// Queues a message, or notes a gap for its room if the feed is full. Never waits.
    pub fn try_send(&self, message: FeedMessage) {
        let room_id = match &message {
            FeedMessage::Events(events) => Some(Arc::clone(&events.room_id)),
            FeedMessage::Message { room_id, .. }
            | FeedMessage::Members { room_id, .. }
            | FeedMessage::Gap(room_id) => Some(Arc::clone(room_id)),
            FeedMessage::Nodes(_) | FeedMessage::Forgotten => None,
        };
        if self.messages.try_send(message).is_err()
            && let Some(room_id) = room_id
        {
            self.gaps.lock().insert(room_id);
        }
    }

    /// Queues a message as soon as it fits. Does nothing if the feed is dropped.
    pub async fn send(&self, message: FeedMessage) {
        let _ = self.messages.send(message).await;
    }

    /// Waits until the feed is dropped or [left](Feed::leave).
    pub async fn closed(&self) {
        self.messages.closed().await;
    }

    /// Confirms to [`Feed::leave`] that the other nodes know that this one has left.
    pub fn confirm_left(&self) {
        self.left.send_replace(true);
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Follower")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(room: &str) -> FeedMessage {
        FeedMessage::Message { room_id: room.into(), node: Id::fresh(), message: Bytes::new() }
    }

    #[tokio::test]
    async fn a_message_that_does_not_fit_becomes_a_gap_after_those_that_did() {
        let (mut feed, sender) = Feed::new(|_, _| {});
        (0..MAX_FEED_MESSAGES).for_each(|_| sender.try_send(message("a")));
        (0..9).for_each(|_| sender.try_send(message("b")));
        for _ in 0..MAX_FEED_MESSAGES {
            assert!(matches!(feed.next().await, Some(FeedMessage::Message { .. })));
        }
        assert_eq!(feed.next().await, Some(FeedMessage::Gap("b".into())));
        sender.try_send(message("c"));
        assert!(matches!(feed.next().await, Some(FeedMessage::Message { room_id, .. }) if &*room_id == "c"));
    }

    #[tokio::test]
    async fn a_backplane_knows_when_the_feed_is_dropped() {
        let (feed, sender) = Feed::new(|_, _| {});
        drop(feed);
        sender.closed().await;
        sender.send(FeedMessage::Forgotten).await;
    }
}
