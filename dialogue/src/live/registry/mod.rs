//! The registry of the room instances in memory.
//!
//! Each file holds a part of it: `start`, `lookup` (finding, and opening for a command), `insertion` (new instances,
//! within the bounds), `opening` (loading one from the store), `list`, `eviction` (making space), `saved_state`, and
//! `maintenance`; `room_owner` and `shared_rooms` are the registry as the rooms and the cluster below see it, `observer`
//! its reports to the server above.

mod eviction;
mod insertion;
mod list;
mod live_rooms;
mod lookup;
mod maintenance;
mod observer;
mod opening;
mod room_owner;
mod saved_state;
mod shared_rooms;
mod start;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::RwLock;
use tokio::{sync::watch, task::JoinHandle};

#[cfg(test)]
pub(in crate::live) use list::MAX_LISTED_SCANS;
pub(crate) use list::RoomListPage;
pub(crate) use lookup::not_found;

use live_rooms::LiveRooms;

use crate::{
    cluster::{Cluster, SharedRooms, backplane::Feed},
    collections::HashMap,
    live::{Archive, ConnectionHandle, LiveRoom, RoomSpec, context::RoomContext, quota::NewRoomQuota},
    log::Journal,
    observe::StoreSample,
    wire::RoomIndex,
};

/// Finds and opens room instances.
pub(crate) struct Registry {
    /// The declared rooms.
    pub(crate) rooms: Vec<Arc<RoomSpec>>,
    names: HashMap<&'static str, RoomIndex>,
    instances: RwLock<LiveRooms>,
    pub(in crate::live) context: Arc<RoomContext>,
    max_rooms: usize,
    new_room_quota: NewRoomQuota,
    observer: OnceLock<Weak<dyn RegistryObserver>>,
    /// Dropped with the registry, which the registry's tasks notice.
    end: watch::Sender<()>,
}

/// The server above the registry: it is told of rooms that the registry removed by itself, and asked for what only it
/// can do.
pub(crate) trait RegistryObserver: Send + Sync {
    /// A room was evicted, and its log with it.
    fn room_evicted(self: Arc<Self>, room: &Arc<RoomSpec>, room_id: &str);

    /// A connection was removed from an instance that closed: its room was deleted, or the instance was idle or failed.
    fn removed_from_closed(
        self: Arc<Self>,
        handle: Arc<ConnectionHandle>,
        instance: Arc<LiveRoom>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// A room is full for a connection. Removes the dead connections of its user from the room, at all nodes; returns
    /// whether there was any.
    fn reclaim_capacity(
        self: Arc<Self>,
        handle: Arc<ConnectionHandle>,
        instance: Arc<LiveRoom>,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

/// Instances read under one lock.
const ROOMS_PER_PAGE: usize = 256;

impl Registry {
    /// Returns the rooms' part in the store, if there is one.
    pub(in crate::live) fn archive(&self) -> Option<&Arc<Archive>> {
        self.context.archive.as_ref()
    }

    /// Returns a page of instances after `after`, in the order of their ids.
    pub(crate) fn page_after(&self, after: Option<&str>) -> Vec<Arc<LiveRoom>> {
        self.instances.read().after(after, ROOMS_PER_PAGE)
    }

    /// Spawns a task on the runtime of the rooms' own tasks.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.context.runtime.spawn(task)
    }

    /// Returns the connection to the other nodes; `None` without a backplane.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.archive()?.cluster.as_ref()
    }

    /// Returns the journal of the store, if there is one.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.archive().map(|archive| &archive.journal)
    }

    /// Starts receiving what the other nodes send.
    pub(crate) fn follow_other_nodes(self: &Arc<Self>, feed: Feed) {
        if let Some(cluster) = self.cluster() {
            let rooms: Arc<dyn SharedRooms> = Arc::<Self>::clone(self);
            cluster.begin(feed, &Arc::downgrade(&rooms), self.end.subscribe());
        }
    }

    /// Returns whether events can be accepted, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.archive().is_none_or(|archive| archive.journal.is_up())
    }

    /// Returns the store's health and the writes that wait for it, if there is a store.
    pub(crate) fn store_probed(&self) -> Option<StoreSample> {
        let journal = &self.archive()?.journal;
        let queued = journal.queued();
        Some(StoreSample { is_up: journal.is_up(), queued_bytes: queued.bytes, queued_rooms: queued.rooms })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
