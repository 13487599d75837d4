//! The registry of the room instances in memory: lookup, creation, listing, and eviction at the bound on rooms.

mod deletions;
mod live_rooms;
mod maintenance;
mod opening;
mod shared_rooms;

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
};

use parking_lot::RwLock;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use deletions::Deletions;
use live_rooms::LiveRooms;
use maintenance::TrimQueue;

#[cfg(feature = "push")]
use crate::log::Journal;
use crate::{
    Code, Refusal,
    cluster::{Cluster, LockRecords, SharedRooms, StateLock, backplane::Feed},
    hooks::RoomRef,
    live::{
        Archive, ConnectionHandle, LiveRoom, NewRoomBounds, Opener, RoomSpec, SavedState,
        clock::unix_ms,
        command::{Reply, RoomChange, RoomCommand, StateChange, StoreOperation},
        quota::{NewRoomQuota, OpenerRooms, QuotaExceeded},
        room::{PublishRequest, unavailable},
        room_spec::RoomInstanceInfo,
        scan_backoff::ScanBackoff,
    },
    log::epoch,
    observe::StoreSample,
    store::StoreError,
    wire::{RoomIndex, frame},
};

/// Finds and opens room instances.
pub(crate) struct Registry {
    rooms: Vec<Arc<RoomSpec>>,
    names: HashMap<&'static str, RoomIndex>,
    instances: RwLock<LiveRooms>,
    /// The epoch of logs created from now on. An epoch names one unbroken history; empty logs may share one, since an
    /// instance that was evicted without events is the same to a client that comes back. Once a log is lost, new ones
    /// get another epoch.
    epoch: RwLock<Arc<str>>,
    /// The instances' part in the store, if there is one.
    pub(in crate::live) archive: Option<Arc<Archive>>,
    /// Rooms that were deleted recently, where there is no store to record them.
    deletions: Deletions,
    pub(in crate::live) trim_queue: TrimQueue,
    max_rooms: usize,
    new_room_quota: NewRoomQuota,
    /// The backoff of full scans for instances that may leave memory.
    pub(in crate::live) scans: ScanBackoff,
    observer: OnceLock<Weak<dyn RegistryObserver>>,
    pub(in crate::live) runtime: Handle,
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

/// The reason that an instance isn't opened.
enum InsertError {
    QuotaExceeded(QuotaExceeded),
    /// The number of rooms has reached its bound.
    Full,
}

/// The fraction of all instances that is evicted at a time, as its divisor: each eviction may scan all.
const EVICTION_SHARE: usize = 128;
/// Instances read under one lock.
const ROOMS_PER_PAGE: usize = 256;
/// Bytes of a page of the list of rooms: a reply has to fit into a connection's outbox.
const MAX_LIST_BYTES: usize = 256 << 10;

/// Rooms that one page of a list scans at most: those that the caller may not see cost as much as others.
pub(in crate::live) const MAX_LISTED_SCANS: usize = 2_048;

/// A page of the list of rooms.
#[derive(Debug, Default)]
pub(crate) struct RoomListPage {
    pub(crate) rooms: Vec<frame::RoomInfo>,
    pub(crate) more: bool,
    /// The last room that was scanned, if the page ends for that reason; the caller may not be allowed to see it.
    pub(crate) scanned_to: Option<Arc<str>>,
}

/// A room that exists.
enum KnownRoom {
    Live(Arc<LiveRoom>),
    /// A room that is only in the store.
    Stored(RoomInstanceInfo),
}

/// The instances with the most connections.
#[cfg(feature = "inspector")]
pub(crate) struct LargestInstances {
    /// These, the largest first.
    pub(crate) instances: Vec<Arc<LiveRoom>>,
    /// The number of all instances.
    pub(crate) total: usize,
}

impl Registry {
    /// Creates a registry. `max_rooms` bounds the instances of keyed rooms, `new` those that a client opened recently.
    pub(crate) fn new(
        rooms: Vec<Arc<RoomSpec>>,
        max_rooms: usize,
        new: NewRoomBounds,
        archive: Option<Arc<Archive>>,
        runtime: Handle,
    ) -> Arc<Self> {
        let names = rooms.iter().map(|room| (room.name, room.index)).collect();
        let registry = Arc::new(Registry {
            rooms,
            names,
            instances: RwLock::default(),
            epoch: RwLock::new(epoch::fresh()),
            archive,
            deletions: Deletions::default(),
            trim_queue: TrimQueue::default(),
            max_rooms,
            new_room_quota: NewRoomQuota::new(new, max_rooms),
            scans: ScanBackoff::default(),
            observer: OnceLock::new(),
            runtime,
            end: watch::Sender::new(()),
        });
        // These tasks end with the registry.
        registry.runtime.spawn(maintenance::run(Arc::downgrade(&registry)));
        registry.runtime.spawn(maintenance::sweep(Arc::downgrade(&registry)));
        registry
    }

    /// Opens the instances of rooms without a key, which exist from the start.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<(), StoreError> {
        self.read_epoch().await?;
        if let Some(archive) = &self.archive {
            archive.count().await?;
        }
        for room in self.rooms.iter().filter(|room| !room.keyed) {
            let opened = self.request(room, room.name, RoomChange::Barrier).await;
            opened.map_err(|refusal| {
                StoreError::new(format!("can't open room `{}`: {}", room.name, refusal.message))
            })?;
        }
        Ok(())
    }

    /// Returns the declaration of the room with id `room_id`, and the text of its key.
    pub(crate) fn declared<'a>(
        &self,
        room_id: &'a str,
    ) -> Result<(&Arc<RoomSpec>, Option<&'a str>), Refusal> {
        let (name, key) = match room_id.split_once(':') {
            Some((name, key)) => (name, Some(key)),
            None => (room_id, None),
        };
        let room = self.names.get(name).and_then(|index| index.entry_of(&self.rooms));
        room.filter(|room| room.keyed == key.is_some())
            .map(|room| (room, key))
            .ok_or_else(|| not_found(room_id))
    }

    /// Returns the instance with id `room_id` if it is in memory and not closed.
    pub(crate) fn find(&self, room_id: &str) -> Option<Arc<LiveRoom>> {
        self.instances.read().get(room_id).filter(|instance| !instance.is_closed()).cloned()
    }

    /// Returns the instance with id `room_id` if the room exists, opening it from the store if need be.
    pub(crate) async fn look_up(self: &Arc<Self>, room_id: &str) -> Result<Option<Arc<LiveRoom>>, Refusal> {
        let live = self.find(room_id);
        let (Some(archive), Ok((room, _))) = (&self.archive, self.declared(room_id)) else { return Ok(live) };
        let instance = match live {
            Some(instance) => instance,
            None if archive.known(room_id).await.map_err(|_| unavailable(room_id))?.is_none()
                && !self.has_remote_members(room_id).await? =>
            {
                return Ok(None);
            }
            None => self.find_or_open(room, room_id, None)?,
        };
        // The room's info is loaded once the instance is open.
        match instance.barrier().await {
            Some(()) => Ok(Some(instance)),
            None => instance.failure().map_or(Ok(None), Err),
        }
    }

    /// Returns the instance with id `room_id`, opening it if need be: for a client, or for the application. The caller
    /// has checked the key.
    pub(crate) fn find_or_open(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        opener: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        match self.find(room_id) {
            Some(instance) => {
                if opener.is_none() && instance.opener.is_some() {
                    instance.used_by_application.store(true, Ordering::Relaxed);
                }
                Ok(instance)
            }
            None => {
                self.insert(room, room_id, RoomInstanceInfo::default(), opener).map(|(instance, _)| instance)
            }
        }
    }

    /// Sets the observer of rooms that the registry removes.
    pub(crate) fn set_observer(&self, observer: Weak<dyn RegistryObserver>) {
        let _ = self.observer.set(observer);
    }

    /// Reports a connection that was removed from `instance`, which closed.
    pub(in crate::live) async fn removed_from_closed(
        &self,
        handle: &Arc<ConnectionHandle>,
        instance: &Arc<LiveRoom>,
    ) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            observer.removed_from_closed(Arc::clone(handle), Arc::clone(instance)).await;
        }
    }

    /// Reports the members of a room that another node deleted, in a task.
    pub(in crate::live) fn deleted_elsewhere(
        &self,
        instance: &Arc<LiveRoom>,
        members: Vec<Arc<ConnectionHandle>>,
    ) {
        let Some(observer) = self.observer.get().and_then(Weak::upgrade) else { return };
        let instance = Arc::clone(instance);
        // The task ends with the application's hooks.
        self.runtime.spawn(async move {
            for handle in members {
                Arc::clone(&observer).removed_from_closed(handle, Arc::clone(&instance)).await;
            }
        });
    }

    /// See [`RegistryObserver::reclaim_capacity`].
    pub(in crate::live) async fn reclaim_capacity(
        &self,
        handle: &Arc<ConnectionHandle>,
        instance: &Arc<LiveRoom>,
    ) -> bool {
        match self.observer.get().and_then(Weak::upgrade) {
            Some(observer) => observer.reclaim_capacity(Arc::clone(handle), Arc::clone(instance)).await,
            None => false,
        }
    }

    pub(in crate::live) fn room_evicted(&self, room: &Arc<RoomSpec>, room_id: &str) {
        if let Some(observer) = self.observer.get().and_then(Weak::upgrade) {
            observer.room_evicted(room, room_id);
        }
    }

    /// Creates the room with id `room_id` explicitly.
    pub(crate) async fn create(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        max_per_user: usize,
        opener: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        if let Some(user) = info.created_by.as_ref().filter(|_| !info.unbounded)
            && self.created_by(user, max_per_user).await? >= max_per_user
        {
            let message = format!("a user creates at most {max_per_user} rooms");
            return Err(Refusal::new(Code::TooMany, message));
        }
        let exists = || Refusal::new(Code::RoomExists, format!("room `{room_id}` exists already"));
        if self.archive.is_none() {
            let (instance, new) = self.insert(room, room_id, info, opener)?;
            return if new { Ok(instance) } else { Err(exists()) };
        }
        let has_remote_members = self.has_remote_members(room_id).await?;
        // Without the info, until the catalog has shown that the room is new.
        let (instance, new) = self.insert(room, room_id, RoomInstanceInfo::default(), opener)?;
        if !new || has_remote_members {
            return Err(exists());
        }
        match instance.create(info).await? {
            Ok(true) => {
                if instance.info().is_permanent() {
                    self.new_room_quota.withdraw(room_id);
                }
                Ok(instance)
            }
            Ok(false) => Err(exists()),
            Err(_) => Err(unavailable(room_id)),
        }
    }

    /// Returns the number of rooms that a user created, up to `max`.
    async fn created_by(&self, user: &Arc<str>, max: usize) -> Result<usize, Refusal> {
        if let Some(archive) = &self.archive {
            let message = "the number of rooms that you created can't be read now; try again";
            let unknown = |_| Refusal::new(Code::Unavailable, message);
            return archive.created_by(user, max).await.map_err(unknown);
        }
        Ok(self.instances.read().created_by(user))
    }

    /// Returns rooms after `after`, in memory or not, in the order of their ids. At most [`MAX_LISTED_SCANS`] are
    /// scanned, however few of them are visible.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        mut visible: impl FnMut(RoomRef<'_>, &RoomSpec) -> bool,
        limit: usize,
    ) -> Result<RoomListPage, Refusal> {
        let (mut rooms, mut size, mut scanned) = (Vec::new(), 0, 0);
        let mut last: Option<Arc<str>> = after.map(Arc::from);
        loop {
            // Outside of the lock: the application's `visible` may look rooms up itself.
            let page = self.known_after(last.as_deref()).await?;
            if page.is_empty() {
                return Ok(RoomListPage { rooms, more: false, scanned_to: None });
            }
            let (mut ends, mut stored) = (None, Vec::new());
            for (id, room, known) in page {
                if scanned == MAX_LISTED_SCANS {
                    ends = Some(last.clone());
                    break;
                }
                scanned += 1;
                if visible(RoomRef { id: &id, name: room.name }, &room) {
                    let described = match &known {
                        KnownRoom::Live(instance) => instance.describe(),
                        KnownRoom::Stored(info) => room.describe(&id, info, 0),
                    };
                    size += serde_json::to_string(&described).map_or(0, |json| json.len() + 1);
                    // One room always fits, so that a client that pages through the list reaches its end.
                    if rooms.len() == limit || (size > MAX_LIST_BYTES && !rooms.is_empty()) {
                        ends = Some(None);
                        break;
                    }
                    if matches!(known, KnownRoom::Stored(_)) {
                        stored.push((rooms.len(), Arc::clone(&id)));
                    }
                    rooms.push(described);
                }
                last = Some(id);
            }
            self.count_members(&mut rooms, stored).await?;
            if let Some(scanned_to) = ends {
                return Ok(RoomListPage { rooms, more: true, scanned_to });
            }
        }
    }

    /// Adds the number of connections at other nodes to rooms that aren't in memory here: for all at once, since each
    /// call is a round trip. `stored` holds their indices.
    async fn count_members(
        &self,
        rooms: &mut [frame::RoomInfo],
        stored: Vec<(usize, Arc<str>)>,
    ) -> Result<(), Refusal> {
        let Some(cluster) = self.cluster().filter(|_| !stored.is_empty()) else { return Ok(()) };
        let (places, ids): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
        let sizes = cluster.sizes(&ids).await.map_err(|_| unlisted())?;
        for (place, size) in places.into_iter().zip(sizes) {
            if let Some(room) = rooms.get_mut(place) {
                room.size = size;
            }
        }
        Ok(())
    }

    /// Returns the list entry of a room, in memory or not.
    pub(crate) async fn describe(
        &self,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<Option<frame::RoomInfo>, Refusal> {
        if let Some(instance) = self.find(room_id) {
            return Ok(Some(instance.describe()));
        }
        let Some(archive) = &self.archive else { return Ok(None) };
        let known = archive.known(room_id).await.map_err(|_| unavailable(room_id))?;
        let Some(info) = known else { return Ok(None) };
        Ok(Some(room.describe(room_id, &info, self.remote_size(room_id).await?)))
    }

    /// Returns whether a room that isn't in memory here has members at other nodes, other than those of an instance
    /// that has just been deleted.
    async fn has_remote_members(&self, room_id: &str) -> Result<bool, Refusal> {
        Ok(self.remote_size(room_id).await? > 0 && !self.is_deleted(room_id).await?)
    }

    /// Returns the number of connections in a room that isn't in memory here.
    pub(in crate::live) async fn remote_size(&self, room_id: &str) -> Result<usize, Refusal> {
        match self.cluster() {
            Some(cluster) => cluster.size(room_id).await.map_err(|_| unavailable(room_id)),
            None => Ok(0),
        }
    }

    /// Returns a page of rooms after `after`, in memory or in the store.
    async fn known_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<(Arc<str>, Arc<RoomSpec>, KnownRoom)>, Refusal> {
        let live = self.page_after(after);
        let mut known: BTreeMap<_, _> = BTreeMap::new();
        // A full page of one source ends the result: beyond it, the other source may have more.
        let mut end =
            (live.len() == ROOMS_PER_PAGE).then(|| live.last().map(|last| Arc::clone(&last.id))).flatten();
        if let Some(archive) = &self.archive {
            let (stored, last) = archive.rooms(after, ROOMS_PER_PAGE).await.map_err(|_| unlisted())?;
            end = match (end, last) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            for (id, info) in stored {
                if let Ok((room, _)) = self.declared(&id) {
                    known.insert(id, (Arc::clone(room), KnownRoom::Stored(info)));
                }
            }
        }
        for instance in live {
            let room = Arc::clone(&instance.room);
            known.insert(Arc::clone(&instance.id), (room, KnownRoom::Live(instance)));
        }
        let known = known.into_iter().map(|(id, (room, known))| (id, room, known));
        Ok(known.take_while(|(id, ..)| end.as_ref().is_none_or(|end| id <= end)).collect())
    }

    /// Returns the declared rooms.
    #[cfg(feature = "inspector")]
    pub(crate) fn rooms(&self) -> &[Arc<RoomSpec>] {
        &self.rooms
    }

    /// Returns up to `max` instances, those with the most connections.
    #[cfg(feature = "inspector")]
    pub(crate) fn largest(&self, max: usize) -> LargestInstances {
        let (mut largest, mut total) = (Vec::new(), 0);
        let mut last: Option<Arc<str>> = None;
        loop {
            // In pages: instances that are being opened need the lock, too.
            let page = self.page_after(last.as_deref());
            let Some(end) = page.last() else { return LargestInstances { instances: largest, total } };
            last = Some(Arc::clone(&end.id));
            total += page.len();
            largest.extend(page);
            // The key is cached: sizes change during the sort.
            largest.sort_by_cached_key(|instance| std::cmp::Reverse(instance.size()));
            largest.truncate(max);
        }
    }

    /// Returns a page of instances after `after`, in the order of their ids.
    pub(in crate::live) fn page_after(&self, after: Option<&str>) -> Vec<Arc<LiveRoom>> {
        self.instances.read().after(after, ROOMS_PER_PAGE)
    }

    /// Runs a command of a room that replies, opening the room if need be, and returns its reply.
    pub(crate) async fn request<T, C: Into<RoomCommand>>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let instance = self.push(room, room_id, command(reply))?;
        answer.await.map_err(|_| instance.failure().unwrap_or_else(internal))
    }

    #[cfg(test)]
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        f: impl FnOnce(&mut crate::live::RoomCore) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.request(room, room_id, |reply| RoomCommand::run(f, Some(reply))).await
    }

    /// Changes the saved state of a room, which is opened if need be, and returns the result of the change.
    ///
    /// # Errors
    ///
    /// The refusal of `change`, or `UNAVAILABLE` if the store can't be written; the state is then unchanged.
    pub(crate) async fn save_state<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        lock: Option<StateLock>,
        change: impl FnOnce(&SavedState) -> Result<(Vec<u8>, T), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (change, result) = StateChange::new(lock, change);
        self.request(room, room_id, |reply| StoreOperation::SaveState(change, reply)).await??;
        result.await.map_err(|_| internal())
    }

    /// Pushes a command to a room, opening it if need be; returns the instance.
    pub(crate) fn push(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        command: impl Into<RoomCommand>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let mut command = command.into();
        loop {
            let instance = self.find_or_open(room, room_id, None)?;
            match instance.push(command) {
                Ok(()) => return Ok(instance),
                // It was closed just now, and another instance takes its place.
                Err(back) => command = back,
            }
        }
    }

    /// Spawns a task on the runtime of the rooms' own tasks.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Publishes an event in a room, opening it if need be.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        mut publish: PublishRequest,
        opener: Option<&Opener>,
    ) -> Result<(), Refusal> {
        loop {
            let instance = self.find_or_open(room, room_id, opener)?;
            instance.wait_for_inbox().await?;
            publish = match instance.push(RoomCommand::Publish(publish)) {
                Ok(()) => return Ok(()),
                Err(RoomCommand::Publish(back)) => back,
                Err(_) => return Err(busy(room_id)),
            };
        }
    }

    /// Locks a room's saved state against changes by other nodes.
    pub(crate) async fn lock_state(&self, room_id: &Arc<str>) -> Result<Option<StateLock>, Refusal> {
        let Some(archive) = &self.archive else { return Ok(None) };
        let Some(cluster) = &archive.cluster else { return Ok(None) };
        let records = Arc::clone(&archive.journal) as Arc<dyn LockRecords>;
        let lock = cluster.lock_state(records, room_id, unix_ms).await.map_err(|error| {
            tracing::debug!(%room_id, %error, "the state of a room can't be locked");
            unavailable(room_id)
        });
        lock.map(Some)
    }

    /// Returns the connection to the other nodes; `None` without a backplane.
    pub(crate) fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.archive.as_ref()?.cluster.as_ref()
    }

    /// Returns the journal of the store, if there is one.
    #[cfg(feature = "push")]
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.archive.as_ref().map(|archive| &archive.journal)
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
        self.archive.as_ref().is_none_or(|archive| archive.journal.is_up())
    }

    /// Returns the store's health and the writes that wait for it, if there is a store.
    pub(crate) fn store_probed(&self) -> Option<StoreSample> {
        let journal = &self.archive.as_ref()?.journal;
        let queued = journal.queued();
        Some(StoreSample { is_up: journal.is_up(), queued_bytes: queued.bytes, queued_rooms: queued.rooms })
    }

    /// Returns the epoch of new logs.
    pub(in crate::live) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.epoch.read())
    }

    /// Reads the epoch of new logs from the store.
    pub(in crate::live) async fn read_epoch(&self) -> Result<(), StoreError> {
        if let Some(archive) = &self.archive {
            let epoch = archive.epoch().await?;
            *self.epoch.write() = epoch;
        }
        Ok(())
    }

    /// Renews the epoch of new logs.
    pub(in crate::live) async fn renew_epoch(&self) -> Result<(), StoreError> {
        let fresh = match &self.archive {
            Some(archive) => archive.new_epoch().await?,
            None => epoch::fresh(),
        };
        *self.epoch.write() = fresh;
        Ok(())
    }

    pub(in crate::live) fn too_many(&self) -> Refusal {
        Refusal::new(
            Code::TooMany,
            format!("there are {} rooms, as many as the server allows", self.max_rooms),
        )
    }

    /// Removes a closed instance; its log may be `lost` with it.
    pub(in crate::live) fn remove(&self, instance: &Arc<LiveRoom>, lost: bool) {
        let mut instances = self.instances.write();
        if lost {
            *self.epoch.write() = epoch::fresh();
        }
        instances.remove(instance);
        drop(instances);
        match instance.quota_entry.get() {
            Some(new_room) if instance.left_no_trace() => self.new_room_quota.release(new_room),
            Some(new_room) if instance.is_deleted() || self.archive.is_none() => {
                self.new_room_quota.remove(new_room)
            }
            None if instance.is_deleted() => self.new_room_quota.withdraw(&instance.id),
            _ => {}
        }
    }

    /// Evicts the rooms that have been empty longest, several at a time, since each scan reads all. Without a store,
    /// their logs are lost.
    ///
    /// Without a store, rooms that were created explicitly stay, unless an anonymous user created them: a client can be
    /// any number of anonymous users. A client that opened more than its share makes space among its `own` rooms, some
    /// of which are given.
    fn evict(&self, instances: &mut LiveRooms, own: Option<&OpenerRooms>) -> Vec<Arc<LiveRoom>> {
        let max = self.max_rooms.div_ceil(EVICTION_SHARE);
        let is_evictable = |one: &&Arc<LiveRoom>| one.room.keyed && one.size() == 0;
        let evicted = match own {
            Some(own) => {
                // An instance that was opened from the store isn't new, and only leaves memory.
                let is_own = |one: &&Arc<LiveRoom>| match one.quota_entry.get() {
                    Some(new_room) => new_room.counts_for(&own.subject),
                    None => self.archive.is_some(),
                };
                let empty = own.rooms.iter().filter_map(|(_, room_id)| instances.get(room_id));
                close_longest_empty(empty.filter(|one| is_own(one) && is_evictable(one)), max)
            }
            None if self.scans.is_on() => {
                let noted = std::iter::from_fn(|| self.scans.next());
                let empty = noted.filter_map(|room_id| instances.get(&room_id)).filter(is_evictable);
                empty.filter(|one| one.close_if_idle()).take(max).cloned().collect()
            }
            None => {
                let scan = self.scans.begin();
                let evicted = close_longest_empty(instances.iter().filter(is_evictable), max);
                if evicted.len() == max {
                    scan.found_enough();
                }
                evicted
            }
        };
        if !evicted.is_empty() && self.archive.is_none() {
            *self.epoch.write() = epoch::fresh();
        }
        for one in &evicted {
            instances.remove(one);
            match &self.archive {
                Some(archive) => archive.note_unloaded(&one.id, &one.info()),
                None => one
                    .quota_entry
                    .get()
                    .into_iter()
                    .for_each(|new_room| self.new_room_quota.remove(new_room)),
            }
        }
        evicted
    }

    /// Evicts the instances that have been empty longest from memory, where the store has them, or some of a client's
    /// own. Returns their ids.
    fn unload_idle(&self, own: Option<&OpenerRooms>) -> Vec<Arc<str>> {
        let evicted = self.evict(&mut self.instances.write(), own);
        evicted.into_iter().map(|one| Arc::clone(&one.id)).collect()
    }

    /// Returns whether there are as many instances in memory as the bound allows.
    pub(in crate::live) fn is_full(&self) -> bool {
        self.instances.read().len() > self.max_rooms + self.rooms.len()
    }

    /// Returns the instance with id `room_id`, inserting it if need be, and whether it was inserted.
    fn insert(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Result<(Arc<LiveRoom>, bool), Refusal> {
        let mut evicted = Vec::new();
        let inserted =
            self.insert_into(&mut self.instances.write(), &mut evicted, room, room_id, info, opener);
        if self.archive.is_none() {
            evicted.iter().for_each(|one: &Arc<LiveRoom>| self.room_evicted(&one.room, &one.id));
        }
        inserted.map_err(|cause| match cause {
            InsertError::QuotaExceeded(exceeded) => self.new_room_quota.refuse(exceeded),
            InsertError::Full => self.too_many(),
        })
    }

    fn insert_into(
        self: &Arc<Self>,
        instances: &mut LiveRooms,
        evicted: &mut Vec<Arc<LiveRoom>>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Result<(Arc<LiveRoom>, bool), InsertError> {
        match instances.get(room_id) {
            Some(instance) if !instance.is_closed() => return Ok((Arc::clone(instance), false)),
            // The old instance isn't removed yet, and the new one must not pass for it.
            Some(_) if self.archive.is_none() => *self.epoch.write() = epoch::fresh(),
            _ => {}
        }
        let id: Arc<str> = room_id.into();
        // With a store, the instance finds out whether it is new while it is opened.
        let opener = opener.filter(|_| room.keyed);
        let new = opener.filter(|_| self.archive.is_none());
        let new_room = new
            .map(|opener| self.new_room_quota.admit(opener, &id))
            .transpose()
            .map_err(InsertError::QuotaExceeded)?;
        if new_room.is_some() && info.is_permanent() {
            // It counts for the client, but is never evicted for its sake.
            self.new_room_quota.withdraw(room_id);
        }
        let max = self.max_rooms + self.rooms.len();
        if room.keyed && instances.len() >= max {
            let own = opener.and_then(|opener| self.new_room_quota.over_share(opener));
            let own = own.map(|own| self.new_room_quota.rooms_of(own));
            evicted.extend(self.evict(instances, own.as_ref()));
            match own {
                Some(own) if evicted.is_empty() => {
                    self.new_room_quota.set_scan_cursor(&own.subject, own.last)
                }
                Some(own) => self.new_room_quota.reset_scan_cursor(&own.subject),
                None => {}
            }
        }
        if room.keyed && instances.len() >= max && self.archive.is_none() {
            // Rooms that clients hold don't count against the application.
            let held = instances
                .iter()
                .filter(|one| one.room.keyed && (one.size() == 0 || one.info().is_permanent()));
            if opener.is_some() || instances.len() >= max + self.max_rooms || held.count() >= self.max_rooms {
                new_room.iter().for_each(|new_room| self.new_room_quota.release(new_room));
                return Err(InsertError::Full);
            }
        }
        let instance = LiveRoom::new(self, Arc::clone(room), id, self.epoch(), info, opener.cloned());
        if let Some(new_room) = new_room {
            instance.set_quota_entry(new_room);
        }
        instances.insert(&instance);
        if instance.room.keyed && self.archive.is_none() {
            self.deletions.withdraw(&instance.id);
        }
        Ok((instance, true))
    }
}

impl LiveRoom {
    /// Returns the room as hooks get it.
    pub(crate) fn room_ref(&self) -> RoomRef<'_> {
        RoomRef { id: &self.id, name: self.room.name }
    }

    /// Returns the room's list entry.
    pub(crate) fn describe(&self) -> frame::RoomInfo {
        self.room.describe(&self.id, &self.info(), self.total_size())
    }
}

impl RoomSpec {
    /// Returns the list entry of a room instance.
    fn describe(&self, room_id: &str, info: &RoomInstanceInfo, size: usize) -> frame::RoomInfo {
        let own = |text: Option<&str>| text.map(str::to_owned);
        frame::RoomInfo {
            room_id: room_id.to_owned(),
            name: own(info.name.as_deref().or(self.options.title)).unwrap_or_else(|| self.name.to_owned()),
            description: own(info.description.as_deref().or(self.options.description)),
            size,
            max_size: self.max_size(info),
            created_by: own(info.created_by.as_deref()),
        }
    }
}

/// Closes at most `max` of some instances, those that have been empty longest; returns them.
fn close_longest_empty<'a>(
    instances: impl Iterator<Item = &'a Arc<LiveRoom>>,
    max: usize,
) -> Vec<Arc<LiveRoom>> {
    let mut empty: Vec<_> = instances.cloned().collect();
    empty.sort_by_cached_key(|one| (one.emptied_at_us.load(Ordering::Relaxed), Arc::clone(&one.id)));
    empty.into_iter().filter(|one| one.close_if_idle()).take(max).collect()
}

/// Returns the refusal of a request about a room that doesn't exist, or that the caller may not know of.
pub(crate) fn not_found(room_id: &str) -> Refusal {
    // The id is the client's text; a part of it is enough to find a mistake.
    let shown: String = room_id.chars().take(64).collect();
    Refusal::new(Code::RoomNotFound, format!("there is no room `{shown}`"))
}

/// Returns the refusal of a request that a busy room can't accept.
pub(crate) fn busy(room_id: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("room `{room_id}` can't keep up; try again"))
}

/// Returns the refusal of a list of rooms while the store can't be read.
fn unlisted() -> Refusal {
    Refusal::new(Code::Unavailable, "the list of rooms can't be read now; try again")
}

fn internal() -> Refusal {
    Refusal::new(Code::Internal, "internal error")
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
