//! The engine: the state of a server that all channels share, and the operations on rooms that need more than one
//! room's own state: authorisation, creation and deletion, announcements, ingest of triggers, and draining.
//!
//! [`Server`](crate::Server) owns it; channels and sessions call it.

mod announcements;
mod bounds;
mod capacity;
mod health;
mod ingest;
mod node_requests;
mod response_budget;

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use announcements::{AnnouncementKind, Announcements};
pub(crate) use bounds::ServerBounds;
pub use health::Health;
pub(crate) use ingest::IngestFuture;
use parking_lot::Mutex;
pub(crate) use response_budget::{ResponseBudget, ResponseReservation};
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::timeout,
};

use crate::{
    Code, Refusal,
    hooks::{AnyHooks, RoomRef, UntypedCaller},
    hub::{
        ConnectionHandle, ConnectionId, DELETED_REASON, LiveRoom, Opener, Registry, RegistryObserver,
        RoomInstanceInfo, RoomListPage, RoomSpec, not_found,
    },
    identity::{Authentication, User},
    ingest::{AnyRoom, Trigger},
    limits::{ConnectionLimiter, ConnectionPermit, Limiter},
    middleware::Flow,
    observe::{Sample, ServerMetrics, Source, Traces},
    origins::Origins,
    push::PushDispatcher,
    room::Channel,
    user_connections::UserConnections,
    wire::frame::{self, ServerFrame},
};

/// The shared state of a server: see the [module](self).
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) any_rooms: Vec<Arc<dyn AnyRoom>>,
    pub(crate) identity: Authentication,
    pub(crate) bounds: ServerBounds,
    /// The bound on the bytes of long responses that clients have not read yet.
    pub(crate) response_budget: Arc<ResponseBudget>,
    pub(crate) origins: Origins,
    pub(crate) directory: Arc<UserConnections>,
    /// The queue of pushes to members without a connection; `None` without a push provider.
    pub(crate) push: Option<Arc<PushDispatcher>>,
    /// `None` without a metrics exporter.
    pub(crate) metrics: Option<Arc<ServerMetrics>>,
    pub(crate) traces: Traces,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
    /// The application's hooks; `None` if it has set none, so that events skip them at no cost.
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    /// The hash of the declared rooms and events.
    pub(crate) schema: String,
    pub(crate) drain: Drain,
    /// Permits for [`IngestFuture`]s that go on in a task of their own after their callers dropped them.
    detached_ingests: Arc<Semaphore>,
    /// Set when the lack of such permits was logged, until one is free again.
    detached_bound_logged: AtomicBool,
    /// The connections that are sent announcements of rooms.
    watchers: Mutex<HashMap<ConnectionId, Arc<ConnectionHandle>>>,
    announcements: Announcements,
    this: Weak<Engine>,
    next_connection: AtomicU64,
}

/// The state of the node's graceful shutdown (drain). A drain goes in two steps: first it waits until no session or
/// request may publish any more ([`Engine::publishers_done`]), so that every acknowledged event is with its room; then
/// connections are sent away, and it waits until all [`DrainGuard`]s are dropped.
pub(crate) struct Drain {
    started: watch::Sender<bool>,
    /// The same value as an atomic, since it is read with every frame.
    is_on: AtomicBool,
    /// The number of [`DrainGuard`]s.
    guards: AtomicUsize,
    last_guard_dropped: Notify,
    /// The number of [`PublishGuard`]s.
    publishers: watch::Sender<usize>,
}

/// Keeps a drain waiting until it is dropped: held by each connection, and by each task that must not be cut off.
pub(crate) struct DrainGuard {
    engine: Arc<Engine>,
    /// The connection's slot under the bound of its address.
    _slot: Option<ConnectionPermit>,
}

/// Keeps the first step of a drain waiting until it is dropped: held by sessions and requests that may publish events.
pub(crate) struct PublishGuard(Arc<Engine>);

/// The maximum time that a drain waits for sessions and requests that publish events.
const MAX_PUBLISHER_DRAIN: Duration = Duration::from_secs(5);
/// The range of the delays after which the clients of a draining node reconnect, in milliseconds.
const RECONNECT_SPREAD_MS: u64 = 3_000;

/// The parts of an [`Engine`] that the builder makes from the application's settings.
pub(crate) struct EngineConfig {
    pub(crate) identity: Authentication,
    pub(crate) bounds: ServerBounds,
    pub(crate) limiter: Limiter,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
    pub(crate) origins: Origins,
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    pub(crate) directory: Arc<UserConnections>,
    pub(crate) push: Option<Arc<PushDispatcher>>,
    pub(crate) metrics: Option<Arc<ServerMetrics>>,
    pub(crate) traces: Traces,
}

impl Engine {
    pub(crate) fn new(
        registry: Arc<Registry>,
        any_rooms: Vec<Arc<dyn AnyRoom>>,
        config: EngineConfig,
        schema: String,
    ) -> Arc<Self> {
        let EngineConfig {
            identity,
            bounds,
            limiter,
            connection_limiter,
            origins,
            hooks,
            directory,
            push,
            metrics,
            traces,
        } = config;
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            announcements: Announcements::default(),
            registry,
            any_rooms,
            identity,
            directory,
            push,
            metrics,
            traces,
            limiter: Arc::new(limiter),
            connection_limiter,
            response_budget: ResponseBudget::new(bounds.max_buffered_response_bytes),
            bounds,
            origins,
            hooks,
            schema,
            drain: Drain {
                started: watch::Sender::new(false),
                is_on: AtomicBool::new(false),
                guards: AtomicUsize::new(0),
                last_guard_dropped: Notify::new(),
                publishers: watch::Sender::new(0),
            },
            detached_ingests: Arc::new(Semaphore::new(ingest::MAX_DETACHED)),
            detached_bound_logged: AtomicBool::new(false),
            watchers: Mutex::default(),
            next_connection: AtomicU64::new(1),
        });
        if let Some(peers) = engine.registry.cluster() {
            let attendant: Weak<Engine> = Arc::downgrade(&engine);
            peers.handle_requests_with(attendant);
        }
        let audience: Weak<Engine> = Arc::downgrade(&engine);
        engine.registry.set_observer(audience);
        engine
    }

    /// Returns the declaration of a room and its ingest path, by the id of an instance.
    ///
    /// # Errors
    ///
    /// `ROOM_NOT_FOUND` if no such room is declared, or its key is invalid: over 128 bytes, with control characters, or
    /// not parsed by the key's type.
    pub(crate) fn room(&self, room_id: &str) -> Result<(&Arc<RoomSpec>, &Arc<dyn AnyRoom>), Refusal> {
        const MAX_KEY_BYTES: usize = 128;
        let (room, key) = self.registry.declared(room_id)?;
        let is_invalid =
            key.is_some_and(|key| key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control));
        let any_room =
            room.index.entry_of(&self.any_rooms).filter(|any_room| !is_invalid && any_room.is_key(key));
        any_room.map(|any_room| (room, any_room)).ok_or_else(|| not_found(room_id))
    }

    /// Returns the id of a new connection.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the drain guard of a new connection, or a refusal while the node drains.
    pub(crate) fn admit_connection(self: &Arc<Self>, slot: ConnectionPermit) -> Result<DrainGuard, Refusal> {
        let mut guard = self.drain_guard();
        guard._slot = Some(slot);
        // After the guard exists: a drain that starts now waits for it.
        if self.drain.is_on() {
            return Err(draining());
        }
        Ok(guard)
    }

    /// Returns a guard that keeps a drain waiting.
    pub(crate) fn drain_guard(self: &Arc<Self>) -> DrainGuard {
        self.drain.guards.fetch_add(1, Ordering::AcqRel);
        DrainGuard { engine: Arc::clone(self), _slot: None }
    }

    pub(crate) fn health(&self) -> Health {
        if self.drain.is_on() {
            Health::Draining
        } else if self.registry.is_up() {
            Health::Ok
        } else {
            Health::Unavailable
        }
    }

    /// Checks the role and identity that a room requires, and then the application's `before_join` hook.
    pub(crate) async fn may_join(
        &self,
        who: &UntypedCaller,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<(), Refusal> {
        is_allowed(&who.user, room)?;
        match &self.hooks {
            Some(hooks) => hooks.before_join(who, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Checks whether a user may create an instance of a keyed room: as [`may_join`](Self::may_join), and then the
    /// application's `before_create` hook.
    pub(crate) async fn may_create(
        &self,
        who: &UntypedCaller,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<(), Refusal> {
        self.may_join(who, room, room_id).await?;
        match &self.hooks {
            Some(hooks) => hooks.before_create(who, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Returns whether a room instance is shown to a user, in lists and announcements.
    pub(crate) fn is_visible(&self, who: &UntypedCaller, room: RoomRef<'_>, declared: &RoomSpec) -> bool {
        is_allowed(&who.user, declared).is_ok()
            && self.hooks.as_ref().is_none_or(|hooks| hooks.sees(who, room))
    }

    /// Returns a page of the room instances that are visible to a user, or of all for the application's backend (`who`
    /// is `None`). If the page ends among instances that the user may not see, its `next` is an encrypted cursor
    /// instead of an id.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST` if `after` is a cursor that this application didn't encrypt; `UNAVAILABLE` while the store
    /// can't be read.
    pub(crate) async fn list(
        &self,
        who: Option<&UntypedCaller>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<frame::Rooms, Refusal> {
        let unsealed;
        let after = match after {
            Some(sealed) if Authentication::is_sealed(sealed) => {
                let invalid = || Refusal::new(Code::InvalidRequest, "`after` is of another server");
                unsealed = self.identity.unseal(sealed).ok_or_else(invalid)?;
                Some(unsealed.as_str())
            }
            after => after,
        };
        let visible = |room: RoomRef<'_>, declared: &RoomSpec| {
            who.is_none_or(|who| self.is_visible(who, room, declared))
        };
        let RoomListPage { rooms, more, scanned_to: looked_to } =
            self.registry.list(after, visible, limit).await?;
        let next = match looked_to {
            Some(room_id) => Some(self.identity.seal(&room_id)),
            None => rooms.last().filter(|_| more).map(|last| last.room_id.clone()),
        };
        Ok(frame::Rooms { rooms, more, next })
    }

    /// Creates an instance of a keyed room, announces it to watching clients and runs the `room_created` hook. It
    /// completes even if the caller drops the future.
    pub(crate) async fn create(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        maker: Option<Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let (engine, room, room_id) = (Arc::clone(self), Arc::clone(room), room_id.to_owned());
        self.run_to_completion(
            async move { engine.create_inner(&room, &room_id, info, maker.as_ref()).await },
        )
        .await
    }

    /// Runs `work` in a task of its own, so that it completes even if the caller drops the future. A drain waits for
    /// it.
    async fn run_to_completion<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, outcome) = oneshot::channel();
        let guard = self.drain_guard();
        self.registry.spawn(async move {
            // Bounded by the timeout of the store and by the application's own hooks.
            let outcome = work.await;
            drop(guard);
            drop(done.send(outcome));
        });
        outcome.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error")))
    }

    async fn create_inner(
        &self,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        maker: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let by = info.created_by.clone();
        let instance =
            self.registry.create(room, room_id, info, self.bounds.max_created_rooms_per_user, maker).await?;
        let created = frame::RoomCreated { room: instance.describe() }.encode(None);
        self.announce(&instance.room, &instance.id, AnnouncementKind::Created, created);
        self.announce_to_nodes(room_id, true);
        if let Some(hooks) = &self.hooks {
            hooks.room_created(instance.room_ref(), by.as_deref()).await;
        }
        Ok(instance)
    }

    /// Deletes a room instance and its log, removes its members, announces that to watching clients and runs the
    /// `room_deleted` hook. It completes even if the caller drops the future.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't delete the log.
    pub(crate) async fn delete(self: &Arc<Self>, instance: &Arc<LiveRoom>) -> Result<(), Refusal> {
        let (engine, instance) = (Arc::clone(self), Arc::clone(instance));
        self.run_to_completion(async move { engine.delete_inner(&instance).await }).await
    }

    async fn delete_inner(&self, instance: &Arc<LiveRoom>) -> Result<(), Refusal> {
        let deleting = instance.run_async(|state| Box::pin(state.delete(DELETED_REASON))).await;
        // `None` if a concurrent call has deleted it.
        let Some(removed) = deleting?? else { return Ok(()) };
        for link in removed {
            self.after_leave(&link, instance, DELETED_REASON).await;
        }
        self.announce_deleted(&instance.room, &instance.id);
        self.announce_to_nodes(&instance.id, false);
        if let Some(hooks) = &self.hooks {
            hooks.room_deleted(instance.room_ref()).await;
        }
        Ok(())
    }

    /// Ingests an event of a user, with the application's `before_trigger` and `after_trigger` hooks around it.
    pub(crate) fn trigger(
        self: &Arc<Self>,
        who: UntypedCaller,
        any_room: &Arc<dyn AnyRoom>,
        data: &str,
        mut trigger: Box<Trigger>,
    ) -> IngestFuture {
        let Some(hooks) = self.hooks.clone() else { return self.ingest_event(any_room, data, trigger) };
        let (any_room, data) = (Arc::clone(any_room), data.to_owned());
        self.ingest(trigger.room.options.wait, Arc::clone(&trigger.is_submitted), async move {
            let (room_id, room, event) =
                (Arc::clone(&trigger.room_id), Arc::clone(&trigger.room), trigger.event);
            let (room_ref, event) = (RoomRef { id: &room_id, name: room.name }, room.event_name(event));
            hooks.before_trigger(&who, room_ref, event).await?;
            let recipients = Arc::new(AtomicUsize::new(0));
            trigger.recipient_count = Some(Arc::clone(&recipients));
            let accepted = decode_and_append(&any_room, &data, trigger).await?;
            hooks.after_trigger(&who, room_ref, event, &accepted, recipients.load(Ordering::Relaxed)).await;
            Ok(accepted)
        })
    }

    /// Ingests an event without the application's hooks: decodes, validates, runs the middleware stack and appends it.
    pub(crate) fn ingest_event(
        self: &Arc<Self>,
        any_room: &Arc<dyn AnyRoom>,
        data: &str,
        trigger: Box<Trigger>,
    ) -> IngestFuture {
        let (any_room, data) = (Arc::clone(any_room), data.to_owned());
        self.ingest(trigger.room.options.wait, Arc::clone(&trigger.is_submitted), async move {
            decode_and_append(&any_room, &data, trigger).await
        })
    }

    /// Wraps the ingest of an event, which may wait for at most `wait` while the log can't be written.
    pub(crate) fn ingest(
        self: &Arc<Self>,
        wait: Option<Duration>,
        at_log: Arc<AtomicBool>,
        work: impl Future<Output = Flow> + Send + 'static,
    ) -> IngestFuture {
        IngestFuture::new(self, at_log, wait, work)
    }

    /// Removes a connection from the rooms that its user's new token no longer allows.
    pub(crate) async fn leave_forbidden_rooms(&self, link: &Arc<ConnectionHandle>) {
        let user = link.user();
        for instance in link.rooms() {
            if let Err(refusal) = is_allowed(&user, &instance.room) {
                self.remove_from_room(link, &instance, &refusal.message).await;
            }
        }
    }

    /// Removes a connection from a room, and returns whether it was in it.
    pub(crate) async fn remove_from_room(
        &self,
        link: &Arc<ConnectionHandle>,
        instance: &Arc<LiveRoom>,
        reason: &str,
    ) -> bool {
        let Some(was_in) = link.remove_from(instance, Some(reason)).await else { return false };
        if was_in.is_closed()
            && let Some(successor) = self.registry.find(&was_in.id)
        {
            // Events that the connection has sent go to the successor.
            let connection = link.id();
            successor.enqueue(move |state| state.refuse_events_from(connection));
        }
        self.after_leave(link, &was_in, reason).await;
        true
    }

    /// Completes a leave once the room has removed the connection, or was deleted: updates the connection and push, and
    /// runs the `left` hook once.
    pub(crate) async fn after_leave(&self, link: &ConnectionHandle, instance: &LiveRoom, reason: &str) {
        self.note_push_departure(link, instance);
        if let (true, Some(hooks)) = (link.exit(instance, reason), &self.hooks) {
            hooks.left(&link.actor(), instance.room_ref(), reason).await;
        }
    }

    /// Waits until the drain is complete: all guards are dropped, the node has left the deployment, and queued pushes
    /// are stored.
    pub(crate) async fn drained(&self) {
        self.drain.finished().await;
        if let Some(peers) = self.registry.cluster() {
            peers.leave().await;
        }
        if let Some(push) = &self.push {
            push.drain().await;
        }
    }

    /// Returns the current amounts that metrics need from the engine's parts.
    pub(crate) fn sample(&self) -> Sample {
        let pushes = self.push.as_ref().map(|push| push.outcome_counts()).unwrap_or_default();
        Sample {
            outbox_bytes: self.directory.queued_bytes(),
            is_draining: self.drain.is_on(),
            store: self.registry.store_probed(),
            nodes: self.registry.cluster().map(|peers| peers.node_count()),
            pushes,
        }
    }

    /// Counts a refused request in the metrics.
    pub(crate) fn refused(&self, source: Source, code: Code) {
        if let Some(metrics) = &self.metrics {
            metrics.refused(source, code);
        }
    }

    /// Returns whether events of a room are pushed to members without a connection.
    pub(crate) fn pushes(&self, room: &RoomSpec) -> bool {
        self.push.is_some() && room.channels.contains(&Channel::WebPush)
    }

    /// Tells push that a connection is about to leave a room: its user has seen the room's events until now.
    pub(crate) fn note_push_departure(&self, link: &ConnectionHandle, instance: &LiveRoom) {
        if let Some(push) = self.push.as_ref().filter(|_| instance.room.channels.contains(&Channel::WebPush))
        {
            push.user_left(&link.user_id, &instance.id);
        }
    }

    /// Returns a guard for a session or request that may publish events. The caller checks after this whether the node
    /// drains, so that a drain that starts in between waits for it.
    pub(crate) fn publish_guard(self: &Arc<Self>) -> PublishGuard {
        self.drain.publishers.send_modify(|publishers| *publishers += 1);
        PublishGuard(Arc::clone(self))
    }

    /// Waits until the node drains and all publish guards are dropped, for at most [`MAX_PUBLISHER_DRAIN`] and half of
    /// the drain timeout. All acknowledged events are then with their rooms: a connection that is sent its rooms'
    /// events up to now misses none of them. Events of later publishers reach it when it has reconnected.
    pub(crate) fn publishers_done(&self) -> impl Future<Output = ()> + Send + 'static {
        let (started, mut publishers) = (self.drain.started(), self.drain.publishers.subscribe());
        let limit = MAX_PUBLISHER_DRAIN.min(self.bounds.drain_timeout / 2);
        async move {
            started.await;
            let done = async { publishers.wait_for(|publishers| *publishers == 0).await.map(drop) };
            let _ = timeout(limit, done).await;
        }
    }

    /// Subscribes a connection to announcements of created and deleted rooms.
    pub(crate) fn watch(&self, link: &Arc<ConnectionHandle>) {
        self.watchers.lock().insert(link.id(), Arc::clone(link));
    }

    /// Ends a connection's subscription to announcements.
    pub(crate) fn unwatch(&self, connection: ConnectionId) {
        self.watchers.lock().remove(&connection);
    }

    /// Announces the deletion of a room to watching clients of this node.
    fn announce_deleted(&self, room: &Arc<RoomSpec>, room_id: &Arc<str>) {
        let deleted = frame::RoomDeleted { room_id: (&**room_id).into() }.encode(None);
        self.announce(room, room_id, AnnouncementKind::Deleted, deleted);
    }

    /// Returns the identity by which the creator of a room instance is counted.
    pub(crate) fn maker(&self, user: &Arc<str>, address: Option<IpAddr>) -> Opener {
        Opener { user: Arc::clone(user), address: self.connection_limiter.counted_address(address) }
    }
}

impl RegistryObserver for Engine {
    fn room_evicted(self: Arc<Self>, room: &Arc<RoomSpec>, room_id: &str) {
        self.announce_deleted(room, &room_id.into());
        self.announce_to_nodes(room_id, false);
    }

    fn removed_by_deletion(
        self: Arc<Self>,
        link: Arc<ConnectionHandle>,
        instance: Arc<LiveRoom>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.after_leave(&link, &instance, DELETED_REASON).await })
    }
}

async fn decode_and_append(any_room: &Arc<dyn AnyRoom>, data: &str, trigger: Box<Trigger>) -> Flow {
    match any_room.encode_without_middleware(trigger.event, data) {
        Some(prepared) => trigger.publish(prepared?).await,
        None => any_room.ingest_json(data, trigger).await,
    }
}

/// Checks that a user has the role and the identity that a room requires.
fn is_allowed(user: &User, room: &RoomSpec) -> Result<(), Refusal> {
    if let Some(role) = room.options.role.filter(|role| !user.has_role(role)) {
        return Err(Refusal::join_denied(format!("room `{}` needs the role `{role}`", room.name)));
    }
    room.identity.identity_of(user, room.name).map(drop)
}

impl Drain {
    /// Returns whether the node drains.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }

    /// Starts the drain: new work is refused from now on, and connections are sent away.
    pub(crate) fn start(&self) {
        self.is_on.store(true, Ordering::SeqCst);
        self.started.send_replace(true);
    }

    /// Waits until draining starts.
    pub(crate) fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut started = self.started.subscribe();
        async move {
            // It fails only if the sender is dropped, and the engine, which owns it, outlives its callers.
            let _ = started.wait_for(|started| *started).await.map(drop);
        }
    }

    /// Waits until all drain guards are dropped.
    pub(crate) async fn finished(&self) {
        loop {
            let dropped = self.last_guard_dropped.notified();
            tokio::pin!(dropped);
            dropped.as_mut().enable();
            if self.guards.load(Ordering::Acquire) == 0 {
                return;
            }
            dropped.await;
        }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.engine.drain.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.engine.drain.last_guard_dropped.notify_waiters();
        }
    }
}

impl Drop for PublishGuard {
    fn drop(&mut self) {
        self.0.drain.publishers.send_modify(|publishers| *publishers -= 1);
    }
}

/// Returns the delay after which a client of a draining node reconnects: random, so that the clients don't arrive at
/// the other nodes all at once (jitter).
pub(crate) fn reconnect_delay_ms() -> u64 {
    fastrand::u64(..RECONNECT_SPREAD_MS)
}

/// Returns the refusal of new work on a draining node.
pub(crate) fn draining() -> Refusal {
    Refusal::new(Code::Unavailable, "this node is draining; try another, or again in a moment")
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("schema", &self.schema).finish_non_exhaustive()
    }
}
