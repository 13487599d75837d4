//! This node's link to the other nodes, of which the other files hold the parts.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};

use super::{
    backplane::{AnyBackplane, Feed, FeedMessage, Follower, Member},
    local_roster::LocalRosters,
    message::{NodeMessage, RoomNotice},
    node_request::NodeRequestHandler,
    pending_requests::PendingRequests,
};
use crate::{catch_panic::catch_panic, collections::HashMap, store::StoreError, wire::Id};

/// The pseudo-room that all nodes follow, for messages about no room. No declared room can have this name.
pub(super) const SERVER_ROOM: &str = "@server";
/// Rooms that may catch up with the store at the same time.
const MAX_CONCURRENT_CATCH_UPS: usize = 64;
/// The time that a leaving node gives its feed to say so.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of joining the other nodes; the backplane has one of its own below it.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// The timeout of a call of the backplane.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// This node's connection to the other nodes; see the [module](super).
pub(crate) struct Cluster {
    /// The id of this node.
    pub(super) id: Id,
    pub(super) backplane: Arc<dyn AnyBackplane>,
    pub(super) follower: Follower,
    /// The number of instances of each room in memory that need the feed: one, or two while one supersedes the other.
    pub(super) followed: Mutex<HashMap<Arc<str>, usize>>,
    /// The nodes of the deployment, as last listed by the backplane.
    pub(super) nodes: RwLock<Arc<BTreeSet<Id>>>,
    /// The number of times that the other nodes took this one for dead.
    pub(super) forgotten_count: AtomicUsize,
    pub(super) local_rosters: LocalRosters,
    pub(super) requests: PendingRequests,
    /// Limits the rooms that catch up at the same time.
    pub(super) catching_up: Semaphore,
    pub(super) leaving: watch::Sender<bool>,
    pub(super) handler: OnceLock<Weak<dyn NodeRequestHandler>>,
    pub(super) runtime: Handle,
}

/// Keeps the feed of a room subscribed until it is dropped.
pub(crate) struct FollowGuard {
    cluster: Arc<Cluster>,
    room_id: Arc<str>,
}

impl Cluster {
    /// Joins the other nodes; returns the cluster and its feed.
    ///
    /// # Errors
    ///
    /// The backplane can't be reached, or its feed receives nothing.
    pub(crate) async fn join(
        backplane: Arc<dyn AnyBackplane>,
        runtime: Handle,
    ) -> Result<(Arc<Self>, Feed), StoreError> {
        let id = Id::fresh();
        let mut feed = match timeout(JOIN_TIMEOUT, backplane.join(id)).await {
            Ok(joined) => joined?,
            Err(_) => return Err(StoreError::new("joining the backplane took too long")),
        };
        let nodes = timeout(CALL_TIMEOUT, async {
            loop {
                match feed.next().await {
                    Some(FeedMessage::Nodes(nodes)) => return Ok(nodes),
                    Some(_) => {}
                    None => {
                        return Err(StoreError::new(
                            "the feed of the backplane closed before its first list of nodes",
                        ));
                    }
                }
            }
        });
        let nodes = nodes
            .await
            .unwrap_or_else(|_| Err(StoreError::new("the backplane sent no list of nodes in time")))?;
        let follower = feed.follower();
        follower.follow(SERVER_ROOM.into());
        let cluster = Arc::new(Cluster {
            id,
            backplane,
            follower,
            followed: Mutex::default(),
            nodes: RwLock::new(Arc::new(nodes)),
            forgotten_count: AtomicUsize::new(0),
            local_rosters: LocalRosters::default(),
            requests: PendingRequests::default(),
            catching_up: Semaphore::new(MAX_CONCURRENT_CATCH_UPS),
            leaving: watch::Sender::new(false),
            handler: OnceLock::new(),
            runtime,
        });
        Ok((cluster, feed))
    }

    /// Returns a permit for a room to catch up, unless many do.
    pub(crate) fn catch_up_permit(&self) -> Option<SemaphorePermit<'_>> {
        self.catching_up.try_acquire().ok()
    }

    /// Leaves the deployment: waits, in a bounded time, until this node's rosters are published and its feed has left.
    pub(crate) async fn leave(&self) {
        self.settle().await;
        self.leaving.send_replace(true);
        // The feed's task leaves the backplane, and holds a receiver until then.
        let _ = timeout(LEAVE_TIMEOUT, self.leaving.closed()).await;
    }

    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// Subscribes the feed of a room until the guard is dropped.
    pub(crate) fn follow(self: &Arc<Self>, room_id: &Arc<str>) -> FollowGuard {
        let mut followed = self.followed.lock();
        let count = followed.entry(Arc::clone(room_id)).or_default();
        *count += 1;
        if *count == 1 {
            self.follower.follow(Arc::clone(room_id));
        }
        FollowGuard { cluster: Arc::clone(self), room_id: Arc::clone(room_id) }
    }

    /// Returns the nodes of the deployment, as last listed by the backplane.
    pub(crate) fn nodes(&self) -> Arc<BTreeSet<Id>> {
        Arc::clone(&self.nodes.read())
    }

    /// Returns the number of nodes, including this one.
    pub(crate) fn node_count(&self) -> usize {
        let nodes = self.nodes();
        nodes.len() + usize::from(!nodes.contains(&self.id))
    }

    /// Returns the number of times that the other nodes took this one for dead, as far as it was notified.
    pub(crate) fn forgotten_count(&self) -> usize {
        self.forgotten_count.load(Ordering::Acquire)
    }

    /// Returns the members of a room at other nodes, including nodes that may have left.
    pub(crate) async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        let mut members = with_timeout(self.backplane.members(room_id)).await?;
        members.retain(|member| member.node != self.id);
        Ok(members)
    }

    /// Returns the number of connections in a room at the listed nodes.
    pub(crate) async fn size(&self, room_id: &str) -> Result<usize, StoreError> {
        let (members, nodes) = (with_timeout(self.backplane.members(room_id)).await?, self.nodes());
        let counted = members.iter().filter(|member| nodes.contains(&member.node));
        Ok(counted.map(|member| usize::try_from(member.connections).unwrap_or(usize::MAX)).sum())
    }

    /// Returns the number of connections in each of some rooms at all nodes.
    pub(crate) async fn sizes(&self, room_ids: &[Arc<str>]) -> Result<Vec<usize>, StoreError> {
        with_timeout(self.backplane.sizes(room_ids)).await
    }

    /// Sends a message about a room to the other nodes.
    pub(super) async fn send(&self, room_id: &str, message: &NodeMessage) -> Result<(), StoreError> {
        with_timeout(self.backplane.send(self.id, room_id, message.encode())).await
    }

    /// Notifies the other nodes of a change to a room if it can be sent now; anti-entropy makes up for it if not.
    pub(crate) fn notify(self: &Arc<Self>, room_id: &Arc<str>, notice: RoomNotice) {
        self.send_best_effort(room_id, notice.into());
    }

    /// Sends a message to the other nodes if it can be sent now; it is logged if not, and anti-entropy makes up for it.
    pub(super) fn send_best_effort(self: &Arc<Self>, room_id: &Arc<str>, message: NodeMessage) {
        let (cluster, room_id) = (Arc::clone(self), Arc::clone(room_id));
        // The task ends with the call, which has a timeout.
        self.runtime.spawn(async move {
            if let Err(error) = cluster.send(&room_id, &message).await {
                tracing::debug!(room_id = &*room_id, %error, "a message about a room can't be sent to the other nodes");
            }
        });
    }
}

impl Drop for FollowGuard {
    fn drop(&mut self) {
        let mut followed = self.cluster.followed.lock();
        if let Some(count) = followed.get_mut(&self.room_id) {
            *count -= 1;
            if *count == 0 {
                followed.remove(&self.room_id);
                self.cluster.follower.unfollow(Arc::clone(&self.room_id));
            }
        }
    }
}

/// Awaits a call of the backplane for at most [`CALL_TIMEOUT`], and turns a panic in it into an error.
pub(super) async fn with_timeout<T>(
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(CALL_TIMEOUT, catch_panic("backplane", call)).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Err(StoreError::new("the backplane panicked")),
        Err(_) => {
            Err(StoreError::new(format!("the backplane took longer than {} s", CALL_TIMEOUT.as_secs())))
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}
