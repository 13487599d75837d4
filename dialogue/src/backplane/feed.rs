//! What peers tell.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::Change;
use crate::{store::StoredEvent, wire::Id};

/// Something that a peer tells, of a room that is followed or of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// Events were put into a room.
    Events(Batch),
    /// Something that is in no log.
    Message {
        /// Whose.
        room_id: Arc<str>,
        /// Who tells it.
        peer: Id,
        /// What.
        message: Bytes,
    },
    /// Other users of a peer are in a room.
    Members {
        /// Which.
        room_id: Arc<str>,
        /// Whose.
        peer: Id,
        /// Who.
        changes: Vec<Change>,
    },
    /// Something of a room may not have been told: its head and its members have to be compared.
    Gap(Arc<str>),
    /// Those who are there now, this one too. The members of all others are gone.
    Peers(BTreeSet<Id>),
    /// The others took this peer for gone, and have forgotten who is in its rooms: it has to say so again.
    Forgotten,
}

/// Events that were put into a room together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// Whose.
    pub room_id: Arc<str>,
    /// Who put them there.
    pub peer: Id,
    /// The log's incarnation.
    pub epoch: Arc<str>,
    /// The number of the event before them.
    pub after: u64,
    /// The id of that event, where it is known: whoever has another one there has another log.
    pub after_id: Option<Id>,
    /// In their order. Those of number 0 are in no log.
    pub events: Vec<StoredEvent>,
}

impl Batch {
    /// Events behind number `after`; the id of the event there is to be added if it is known.
    pub fn new(room_id: Arc<str>, peer: Id, epoch: Arc<str>, after: u64, events: Vec<StoredEvent>) -> Self {
        Batch { room_id, peer, epoch, after, after_id: None, events }
    }
}

/// What peers tell, in the order of each room.
///
/// It holds a bounded amount: what is told to an instance that doesn't keep up is dropped, and made up for by a
/// [`Told::Gap`].
#[derive(Debug)]
pub struct Feed {
    told: mpsc::Receiver<Told>,
    dropped: Dropped,
    follower: Follower,
    left: watch::Receiver<bool>,
}

/// Says which rooms a [`Feed`] tells of.
#[derive(Clone)]
pub struct Follower(Arc<dyn Fn(Arc<str>, bool) + Send + Sync>);

/// Where a backplane puts what is told.
#[derive(Debug, Clone)]
pub struct Teller {
    told: mpsc::Sender<Told>,
    dropped: Dropped,
    left: watch::Sender<bool>,
}

/// Rooms of which something was dropped.
type Dropped = Arc<Mutex<BTreeSet<Arc<str>>>>;

/// How long it may take until the others know that a peer is gone.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is told and not taken yet.
const WAITING: usize = 16 << 10;

impl Feed {
    /// A feed, and where to put what is told; `follow` is called with each room that is of interest (`true`) from then on,
    /// or no longer, and must not wait.
    pub fn new(follow: impl Fn(Arc<str>, bool) + Send + Sync + 'static) -> (Self, Teller) {
        let (teller, told) = mpsc::channel(WAITING);
        let dropped = Dropped::default();
        let follower = Follower(Arc::new(follow));
        let (leaves, left) = watch::channel(false);
        let feed = Feed { told, dropped: Arc::clone(&dropped), follower, left };
        (feed, Teller { told: teller, dropped, left: leaves })
    }

    /// What says which rooms are followed.
    pub fn follower(&self) -> Follower {
        self.follower.clone()
    }

    /// Ends it, and waits until the others know that this peer is gone: for a second at most.
    pub async fn leave(mut self) {
        self.told.close();
        // Who doesn't say so in time is gone a little later.
        let _ = timeout(FAREWELL, self.left.wait_for(|left| *left)).await;
    }

    /// What is told next; `None` once the backplane is no more.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Told> {
        match self.told.try_recv() {
            Ok(told) => return Some(told),
            Err(mpsc::error::TryRecvError::Disconnected) => return None,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        // Once all that was told before is taken.
        let dropped = self.dropped.lock().pop_first();
        match dropped {
            Some(room_id) => Some(Told::Gap(room_id)),
            None => self.told.recv().await,
        }
    }
}

impl Follower {
    /// From now on, what is told of a room comes out of the feed: first, once that is so, a [`Told::Gap`] of it.
    pub fn follow(&self, room_id: Arc<str>) {
        (self.0)(room_id, true);
    }

    /// What is told of a room is of no interest any more.
    pub fn unfollow(&self, room_id: Arc<str>) {
        (self.0)(room_id, false);
    }
}

impl Teller {
    /// Tells it, or that something is missing. Never waits.
    pub fn tell(&self, told: Told) {
        let room_id = match &told {
            Told::Events(batch) => Some(Arc::clone(&batch.room_id)),
            Told::Message { room_id, .. } | Told::Members { room_id, .. } | Told::Gap(room_id) => {
                Some(Arc::clone(room_id))
            }
            Told::Peers(_) | Told::Forgotten => None,
        };
        if self.told.try_send(told).is_err()
            && let Some(room_id) = room_id
        {
            self.dropped.lock().insert(room_id);
        }
    }

    /// Tells it once there is room for it.
    pub async fn tell_surely(&self, told: Told) {
        // Unless nobody listens any more.
        let _ = self.told.send(told).await;
    }

    /// Waits until the feed is dropped, or [left](Feed::leave).
    pub async fn unheard(&self) {
        self.told.closed().await;
    }

    /// The others know that the peer is gone.
    pub fn left(&self) {
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

    fn message(room: &str) -> Told {
        Told::Message { room_id: room.into(), peer: Id::fresh(), message: Bytes::new() }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_a_gap_after_all_that_did() {
        let (mut feed, teller) = Feed::new(|_, _| {});
        (0..WAITING).for_each(|_| teller.tell(message("a")));
        (0..9).for_each(|_| teller.tell(message("b")));
        for _ in 0..WAITING {
            assert!(matches!(feed.next().await, Some(Told::Message { .. })));
        }
        assert_eq!(feed.next().await, Some(Told::Gap("b".into())));
        teller.tell(message("c"));
        assert!(matches!(feed.next().await, Some(Told::Message { room_id, .. }) if &*room_id == "c"));
    }

    #[tokio::test]
    async fn a_backplane_knows_when_nobody_listens() {
        let (feed, teller) = Feed::new(|_, _| {});
        drop(feed);
        teller.unheard().await;
        teller.tell_surely(Told::Forgotten).await;
    }
}
