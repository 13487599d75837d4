//! A room instance in memory, and its lifecycle from opening to closed.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{
    ConnectionHandle, Opener, RoomSpec,
    archive::Archive,
    clock::{RoomClock, monotonic_ms, monotonic_us},
    command::Inbox,
    connection::{InstanceId, JoinedRoom},
    context::RoomContext,
    quota::{OccupiedRoom, RecentRoom},
    room::{Migration, RoomCore, RoomStorage, StoredRoom},
    room_spec::RoomInstanceInfo,
};
use crate::{
    Refusal,
    cluster::{FollowGuard, HeadMark, id_prefix},
    log::LogHead,
    observe::RoomInstanceGuard,
};

/// A room instance in memory.
///
/// Commands are pushed into its inbox. The first of them spawns a driver, which runs commands until the inbox is empty,
/// and ends: an idle room has no task, a busy one has a single writer, and the commands that arrive while that writes
/// to subscribers form the next batch. While a new instance is being read from the store, its commands wait likewise.
pub(crate) struct LiveRoom {
    pub(super) instance_id: InstanceId,
    pub(super) clock: RoomClock,
    pub(crate) room: Arc<RoomSpec>,
    pub(crate) id: Arc<str>,
    info: RwLock<Arc<RoomInstanceInfo>>,
    /// The user who created the room, as known when the instance was inserted.
    creator: Option<Arc<str>>,
    /// The client whose request opened the instance; `None` if the application did.
    pub(super) opener: Option<Opener>,
    /// Set once the application has used an instance that a client opened: it then doesn't count against the client.
    pub(super) used_by_application: AtomicBool,
    /// Its entry in the quota of new rooms, if it was new when it was opened.
    pub(super) quota_entry: OnceLock<Arc<RecentRoom>>,
    /// Keeps the backplane's feed of the room subscribed.
    _follow_guard: Option<FollowGuard>,
    /// The refusal of all requests, if it could not be opened.
    pub(super) failure: OnceLock<Refusal>,
    deleted: AtomicBool,
    /// Connections at this node: a copy of the core's count for listings.
    pub(super) size: AtomicUsize,
    /// Connections at other nodes, likewise.
    remote_size: AtomicUsize,
    /// The `seq` of the newest event in its log: a copy for anti-entropy.
    pub(super) head: AtomicU64,
    /// The prefix of that event's id ([`id_prefix`]).
    pub(super) head_id: AtomicU64,
    /// The requests of a catch-up since the last one began, up to 2: messages of other nodes may have been lost.
    pub(super) catch_up_requests: AtomicU8,
    /// Set once another node reported the room's deletion: a log that the store no longer has was then deleted, not
    /// lost.
    pub(super) deleted_remotely: AtomicBool,
    /// The number of joins under way; until they end, the room isn't closed for being empty.
    pub(super) pending_joins: AtomicUsize,
    /// The time at which it last became empty, in microseconds of [`monotonic_us`].
    pub(super) emptied_at_us: AtomicU64,
    /// The time of the last trim by age, in milliseconds of [`monotonic_ms`].
    trimmed_at_ms: AtomicU64,
    pub(super) inbox: Mutex<Inbox>,
    /// The core, while no driver runs.
    pub(super) core: Mutex<Option<Box<RoomCore>>>,
    pub(super) inbox_space: Notify,
    pub(super) context: Arc<RoomContext>,
    /// The registry; it is gone once the server is dropped.
    pub(super) owner: Weak<dyn RoomOwner>,
    /// The entry to the driver, which is given to the instance since the driver is built on it.
    pub(super) spawn_driver: SpawnDriver,
    _counted: RoomInstanceGuard,
}

/// The owner of live rooms, as a room and its driver need it: the registry.
///
/// A room may outlive it; there is then nothing to remove the room from, and nobody to report to.
pub(super) trait RoomOwner: Send + Sync {
    /// Removes a closed instance; its log may be `lost` with it.
    fn remove(&self, instance: &Arc<LiveRoom>, lost: bool);

    /// Reports the members of a room that another node deleted, in a task.
    fn deleted_elsewhere(&self, instance: &Arc<LiveRoom>, members: Vec<Arc<ConnectionHandle>>);

    /// Migrates the members of a superseded instance into the next one, in a task.
    fn migrate(self: Arc<Self>, superseded: &Arc<LiveRoom>, migration: Migration);
}

/// Spawns the driver of an instance, as a task that ends when the inbox is empty.
type SpawnDriver = fn(&Arc<LiveRoom>);

impl LiveRoom {
    /// Creates an instance. Without an archive it is live at once; with one, the caller opens it.
    pub(super) fn new(
        context: &Arc<RoomContext>,
        owner: Weak<dyn RoomOwner>,
        spawn_driver: SpawnDriver,
        room: Arc<RoomSpec>,
        id: Arc<str>,
        info: RoomInstanceInfo,
        opener: Option<Opener>,
    ) -> Arc<Self> {
        let opening = context.archive.is_some();
        // Before the store is read: the feed then has every event that the read doesn't.
        let cluster = context.archive.as_ref().and_then(|archive| archive.cluster.as_ref());
        let follow_guard = cluster.map(|cluster| cluster.follow(&id));
        let (instance_id, clock) = (InstanceId::fresh(), RoomClock::start());
        let core = (!opening).then(|| {
            let follows_deletion = room.keyed && context.deletions.names_in_memory(&id);
            let found = StoredRoom { follows_deletion, ..StoredRoom::default() };
            let (room, id, epoch) = (Arc::clone(&room), Arc::clone(&id), context.epoch.current());
            Box::new(RoomCore::new(instance_id, room, id, RoomStorage::Memory, epoch, found, clock.now()))
        });
        Arc::new(LiveRoom {
            instance_id,
            clock,
            _counted: room.meter.count_instance(),
            room,
            id,
            creator: info.created_by.clone(),
            info: RwLock::new(Arc::new(info)),
            opener,
            used_by_application: AtomicBool::new(false),
            quota_entry: OnceLock::new(),
            _follow_guard: follow_guard,
            failure: OnceLock::new(),
            deleted: AtomicBool::new(false),
            size: AtomicUsize::new(0),
            remote_size: AtomicUsize::new(0),
            head: AtomicU64::new(0),
            head_id: AtomicU64::new(0),
            catch_up_requests: AtomicU8::new(0),
            deleted_remotely: AtomicBool::new(false),
            pending_joins: AtomicUsize::new(0),
            emptied_at_us: AtomicU64::new(monotonic_us()),
            trimmed_at_ms: AtomicU64::new(monotonic_ms()),
            inbox: Mutex::new(Inbox { running: opening, ..Inbox::default() }),
            core: Mutex::new(core),
            inbox_space: Notify::new(),
            context: Arc::clone(context),
            owner,
            spawn_driver,
        })
    }

    /// Returns the room's name, description and the like.
    pub(crate) fn info(&self) -> Arc<RoomInstanceInfo> {
        Arc::clone(&self.info.read())
    }

    /// Sets the instance's entry in the quota of new rooms.
    pub(super) fn set_quota_entry(self: &Arc<Self>, new_room: Arc<RecentRoom>) {
        new_room.set_instance(self);
        let _ = self.quota_entry.set(new_room);
    }

    /// Returns whether nothing remains of the room once it isn't in memory: it has no event, and was neither created
    /// explicitly nor deleted.
    pub(super) fn left_no_trace(&self) -> bool {
        self.head.load(Ordering::Acquire) == 0 && !self.is_deleted() && !self.info.read().created
    }

    pub(super) fn creator(&self) -> Option<&Arc<str>> {
        self.creator.as_ref()
    }

    pub(super) fn archive(&self) -> Option<&Arc<Archive>> {
        self.context.archive.as_ref()
    }

    /// Returns the refusal of all requests, if the instance could not be opened.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failure.get().cloned()
    }

    /// Requests a trim of the store's part of the log, in the next maintenance round.
    pub(super) fn request_trim(&self) {
        self.context.trim_queue.push(&self.id);
    }

    /// Returns whether the instance stays even if it is empty: it was created explicitly, or is about to be joined.
    pub(super) fn is_in_use(&self) -> bool {
        self.info.read().created || self.pending_joins.load(Ordering::Relaxed) > 0
    }

    /// Notes activity, which restarts the idle time; returns whether the instance may be evicted.
    pub(super) fn note_activity(&self, core: &RoomCore) -> bool {
        let (idle, stored) = (core.is_idle(), self.archive().is_some());
        if idle && stored {
            self.emptied_at_us.store(monotonic_us(), Ordering::Relaxed);
        }
        idle && self.room.keyed && (stored || !(core.has_saved_state() || self.info.read().is_permanent()))
    }

    /// Removes a connection from this node's roster of the room, where there are other nodes.
    pub(super) fn uncount_member(&self, handle: &ConnectionHandle) {
        if let Some(cluster) = self.archive().and_then(|archive| archive.cluster.as_ref()) {
            cluster.member_left(&self.id, &handle.user_id);
        }
    }

    /// Ends the migration of a connection into or out of this instance, and removes it from this node's roster. Returns
    /// `true` to one caller only.
    pub(super) fn end_migration(&self, handle: &ConnectionHandle) -> bool {
        let ended = handle.end_migration(&self.id, self.instance_id);
        if ended {
            self.uncount_member(handle);
        }
        ended
    }

    /// Spawns a task, which has to end by itself.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.context.runtime.spawn(task);
    }

    /// Migrates the members of this superseded instance into the next one. Each is sent `joined` without a request,
    /// with the new log's position and whether the member lost events; its other rooms aren't affected.
    pub(super) fn move_on(self: &Arc<Self>, migration: Migration) {
        if !migration.members.is_empty()
            && let Some(owner) = self.owner.upgrade()
        {
            owner.migrate(self, migration);
        }
    }

    /// Returns the mark of the log's newest event, without waiting for the room's state.
    pub(super) fn head(&self) -> HeadMark {
        HeadMark { seq: self.head.load(Ordering::Acquire), id_prefix: self.head_id.load(Ordering::Acquire) }
    }

    /// Publishes the end of the log for anti-entropy.
    pub(super) fn set_head(&self, head: LogHead<'_>) {
        self.head_id.store(id_prefix(head.event_id), Ordering::Release);
        self.head.store(head.seq, Ordering::Release);
    }

    /// Publishes the numbers of connections at this node and at others, for listings and metrics.
    pub(super) fn update_size(&self, size: usize, remote_size: usize) {
        self.remote_size.store(remote_size, Ordering::Relaxed);
        let before = self.size.swap(size, Ordering::Relaxed);
        self.room.meter.resized(before, size);
        if size == 0 && before > 0 {
            self.emptied_at_us.store(monotonic_us(), Ordering::Relaxed);
        }
    }

    /// Returns the number of connections over all nodes.
    pub(crate) fn total_size(&self) -> usize {
        self.size() + self.remote_size.load(Ordering::Relaxed)
    }

    /// Returns the number of connections at this node.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns whether the room was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Notes that the room was deleted.
    pub(super) fn mark_deleted(&self) {
        self.deleted.store(true, Ordering::Relaxed);
    }

    /// Returns whether another node reported the room's deletion.
    pub(super) fn was_deleted(&self) -> bool {
        self.deleted_remotely.load(Ordering::Acquire)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }

    /// Closes the inbox: no command is accepted any more; queued ones still run.
    pub(super) fn close(&self) {
        self.inbox.lock().closed = true;
    }

    /// Closes the instance if it is idle, and returns whether it did. Without a store, a room that was created
    /// explicitly or has saved state stays.
    pub(super) fn close_if_idle(&self) -> bool {
        let stored = self.archive().is_some();
        let mut inbox = self.inbox.lock();
        let idle = !inbox.closed
            && !inbox.running
            && (stored || !self.info.read().is_permanent())
            && self
                .core
                .lock()
                .as_ref()
                .is_some_and(|core| core.is_idle() && (stored || !core.has_saved_state()));
        inbox.closed |= idle;
        idle
    }

    /// Returns whether the last trim by age was at least `time` ago, and if so notes one now.
    pub(super) fn take_trim_due(&self, time: Duration) -> bool {
        let (now, before) = (monotonic_ms(), self.trimmed_at_ms.load(Ordering::Relaxed));
        let due = u128::from(now.saturating_sub(before)) >= time.as_millis();
        if due {
            self.trimmed_at_ms.store(now, Ordering::Relaxed);
        }
        due
    }

    /// Trims the log in memory by age, unless a driver runs, which does so itself.
    pub(super) fn trim_idle_memory(&self) {
        let inbox = self.inbox.lock();
        if !inbox.running
            && let Some(core) = self.core.lock().as_mut()
        {
            core.set_time(self.clock.now());
            core.trim_memory();
        }
    }

    /// Sets the room's name, description and the like, once they are in the catalog.
    pub(super) fn set_info(&self, info: RoomInstanceInfo) {
        *self.info.write() = Arc::new(info);
    }
}

impl JoinedRoom for LiveRoom {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn instance_id(&self) -> InstanceId {
        self.instance_id
    }
}

impl ConnectionHandle {
    /// Returns the instance of room `room_id`, if the connection is a member.
    pub(crate) fn room(&self, room_id: &str) -> Option<Arc<LiveRoom>> {
        self.joined(room_id).and_then(live)
    }

    /// Returns the instances of all rooms in which the connection is a member.
    pub(crate) fn rooms(&self) -> Vec<Arc<LiveRoom>> {
        self.all_joined().into_iter().filter_map(live).collect()
    }
}

/// Returns the instance itself: connections are in no other rooms.
fn live(room: Arc<dyn JoinedRoom>) -> Option<Arc<LiveRoom>> {
    let room: Arc<dyn Any + Send + Sync> = room;
    room.downcast().ok()
}

impl OccupiedRoom for LiveRoom {
    fn is_occupied(&self) -> bool {
        self.total_size() > 0
    }
}

impl fmt::Debug for LiveRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}
