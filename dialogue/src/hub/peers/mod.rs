//! The other instances of the application, as the rooms of this one know them.
//!
//! What peers put into a room comes out of the backplane's feed and goes to the room, in its turn; who is in it here is
//! said in roll calls, and who is in it elsewhere stands beside the room's own members. What is to be done wherever a user
//! is connected is asked of all peers.

mod ask;
mod feed;
mod heads;
mod message;
mod rolls;
mod roster;

#[cfg(feature = "push")]
use std::sync::atomic::Ordering;
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, OnceLock, Weak, atomic::AtomicUsize},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};

pub(crate) use ask::{Answer, Attendant, ConnectionAt, Question};
pub(super) use message::Message;
use rolls::Rolls;
pub(super) use roster::{Difference, Roster};

use super::Registry;
use crate::{
    backplane::{AnyBackplane, Feed, FeedMessage, Follower, Member},
    catch_panic::catch_panic,
    store::StoreError,
    wire::Id,
};

/// The room that all instances follow, for what is of no room. No declared room can be called so.
const ALL: &str = "@server";
/// Rooms that look at once for what they missed.
const CATCHING_UP: usize = 64;
/// How long it may take until the others know that this instance goes.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long it may take to join the others, which has a patience of its own.
const JOINING: Duration = Duration::from_secs(10);
/// How long a call of the backplane may take.
const WITHIN: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(crate) struct Peers {
    /// This instance, as the others know it.
    id: Id,
    backplane: Arc<dyn AnyBackplane>,
    follower: Follower,
    /// How many instances of each room there are in memory: one, or two while one takes the place of another.
    followed: Mutex<HashMap<Arc<str>, usize>>,
    /// Those who are there now.
    there: RwLock<Arc<BTreeSet<Id>>>,
    /// How often the others took this one for gone.
    forgotten: AtomicUsize,
    rolls: Rolls,
    asked: ask::Asked,
    /// How many rooms may look at once for what they missed.
    catching_up: Semaphore,
    leaving: watch::Sender<bool>,
    attendant: OnceLock<Weak<dyn Attendant>>,
    runtime: Handle,
}

/// A room is followed for as long as this is kept.
pub(in crate::hub) struct Followed {
    peers: Arc<Peers>,
    room_id: Arc<str>,
}

impl Peers {
    /// Joins the others; yields what they tell, too.
    ///
    /// # Errors
    ///
    /// The backplane can't be reached, or nothing would be heard of it.
    pub(crate) async fn join(
        backplane: Arc<dyn AnyBackplane>,
        runtime: Handle,
    ) -> Result<(Arc<Self>, Feed), StoreError> {
        let id = Id::fresh();
        let mut feed = match timeout(JOINING, backplane.join(id)).await {
            Ok(joined) => joined?,
            Err(_) => return Err(StoreError::new("the backplane can't be joined in time")),
        };
        let there = timeout(WITHIN, async {
            loop {
                match feed.next().await {
                    Some(FeedMessage::Nodes(there)) => return Ok(there),
                    Some(_) => {}
                    None => return Err(StoreError::new("the backplane went away at once")),
                }
            }
        });
        let there = there
            .await
            .unwrap_or_else(|_| Err(StoreError::new("the backplane doesn't tell who is there")))?;
        let follower = feed.follower();
        follower.follow(ALL.into());
        let peers = Arc::new(Peers {
            id,
            backplane,
            follower,
            followed: Mutex::default(),
            there: RwLock::new(Arc::new(there)),
            forgotten: AtomicUsize::new(0),
            rolls: Rolls::default(),
            asked: ask::Asked::default(),
            catching_up: Semaphore::new(CATCHING_UP),
            leaving: watch::Sender::new(false),
            attendant: OnceLock::new(),
            runtime,
        });
        Ok((peers, feed))
    }

    /// Hands what is told to the rooms, and compares the heads of logs, until the registry is gone.
    pub(crate) fn begin(self: &Arc<Self>, feed: Feed, registry: &Arc<Registry>) {
        self.runtime.spawn(feed::run(
            Arc::clone(self),
            feed,
            Arc::downgrade(registry),
            registry.ends(),
            self.leaving.subscribe(),
        ));
        self.runtime.spawn(heads::run(Arc::clone(self), Arc::downgrade(registry)));
    }

    /// A room may look for what it missed, unless many do.
    pub(super) fn may_catch_up(&self) -> Option<SemaphorePermit<'_>> {
        self.catching_up.try_acquire().ok()
    }

    /// Goes: waits until the others know who is in here, and that this instance is none of them any more.
    pub(crate) async fn leave(&self) {
        self.settle().await;
        self.leaving.send_replace(true);
        // Its feed says so, and holds a receiver until then.
        let _ = timeout(FAREWELL, self.leaving.closed()).await;
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// What is told of a room goes to it from now on.
    pub(super) fn follow(self: &Arc<Self>, room_id: &Arc<str>) -> Followed {
        let mut followed = self.followed.lock();
        let count = followed.entry(Arc::clone(room_id)).or_default();
        *count += 1;
        if *count == 1 {
            self.follower.follow(Arc::clone(room_id));
        }
        Followed { peers: Arc::clone(self), room_id: Arc::clone(room_id) }
    }

    /// Those who are there now.
    pub(crate) fn there(&self) -> Arc<BTreeSet<Id>> {
        Arc::clone(&self.there.read())
    }

    /// How many instances there are now, this one too.
    pub(crate) fn instances(&self) -> usize {
        let there = self.there();
        there.len() + usize::from(!there.contains(&self.id))
    }

    /// How often the others took this one for gone, as far as it heard.
    #[cfg(feature = "push")]
    pub(crate) fn forgotten(&self) -> usize {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Who is in a room elsewhere, by the word of anybody.
    pub(super) async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let mut members = within(self.backplane.members(room_id)).await?;
        members.retain(|member| member.node != self.id);
        Ok(members)
    }

    /// How many connections are in a room, by the word of those who are there.
    pub(super) async fn size(&self, room_id: &str) -> Result<usize, StoreError> {
        let (members, there) = (within(self.backplane.members(room_id)).await?, self.there());
        let counted = members.iter().filter(|member| there.contains(&member.node));
        Ok(counted.map(|member| usize::try_from(member.connections).unwrap_or(usize::MAX)).sum())
    }

    /// The number of connections in each of some rooms, as all peers said.
    pub(super) async fn sizes(&self, room_ids: &[Arc<str>]) -> Result<Vec<usize>, StoreError> {
        within(self.backplane.sizes(room_ids)).await
    }

    /// Tells the others something of a room.
    async fn tell(&self, room_id: &str, message: &Message) -> Result<(), StoreError> {
        within(self.backplane.send(self.id, room_id, message.encode())).await
    }

    /// Tells the others, if they can be told now; they find out otherwise too, a little later.
    pub(super) fn tell_if_possible(self: &Arc<Self>, room_id: &Arc<str>, message: Message) {
        let (peers, room_id) = (Arc::clone(self), Arc::clone(room_id));
        // It ends with the call, which is bounded.
        self.runtime.spawn(async move {
            if let Err(error) = peers.tell(&room_id, &message).await {
                tracing::debug!(room_id = &*room_id, %error, "peers can't be told of a room");
            }
        });
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut followed = self.peers.followed.lock();
        if let Some(count) = followed.get_mut(&self.room_id) {
            *count -= 1;
            if *count == 0 {
                followed.remove(&self.room_id);
                self.peers.follower.unfollow(Arc::clone(&self.room_id));
            }
        }
    }
}

/// A call of the backplane, which ends in time, whatever that does.
async fn within<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match timeout(WITHIN, catch_panic("backplane", call)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(StoreError::new("the backplane panicked")),
        Err(_) => Err(StoreError::new(format!("the backplane took longer than {} s", WITHIN.as_secs()))),
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("id", &self.id).finish_non_exhaustive()
    }
}
