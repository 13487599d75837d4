//! The engine: the state of a server that all channels share, and the operations on rooms that need more than one
//! room's own state: creation and deletion, announcements, and the removal of members.
//!
//! [`Server`](crate::Server) owns it; channels and sessions call it.

mod announcements;
mod bounds;
mod capacity;
mod health;
mod node_requests;
pub(crate) mod origins;
mod parts;
mod response_budget;

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use announcements::{AnnouncementKind, Announcements};
pub(crate) use bounds::ServerBounds;
pub use health::Health;
use parking_lot::Mutex;
pub(crate) use parts::{Admission, EngineParts, Observed};
pub(crate) use response_budget::{ResponseBudget, ResponseReservation};
use tokio::sync::oneshot;

use crate::{
    Code, Refusal,
    collections::HashMap,
    drain::Drain,
    hooks::{AnyHooks, RoomRef, UntypedCaller},
    identity::Authentication,
    ingest::{DetachedIngests, Ingest},
    live::{
        ConnectionHandle, ConnectionId, DELETED_REASON, LiveRoom, Opener, Registry, RegistryObserver,
        RoomChange, RoomInstanceInfo, RoomListPage, RoomSpec, UserConnections, not_found,
    },
    observe::{Sample, Source},
    push::PushDispatcher,
    room::Channel,
    wire::frame::{self, ServerFrame},
};

/// The shared state of a server: see the [module](self).
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) admission: Admission,
    pub(crate) bounds: ServerBounds,
    /// The bound on the bytes of long responses that clients have not read yet.
    pub(crate) response_budget: Arc<ResponseBudget>,
    pub(crate) directory: Arc<UserConnections>,
    /// The queue of pushes to members without a connection; `None` without a push provider.
    pub(crate) push: Option<Arc<PushDispatcher>>,
    pub(crate) observed: Observed,
    /// The application's hooks; `None` if it has set none, so that events skip them at no cost.
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    /// The hash of the declared rooms and events.
    pub(crate) schema: String,
    pub(crate) drain: Arc<Drain>,
    /// The connections that are sent announcements of rooms.
    watchers: Mutex<HashMap<ConnectionId, Arc<ConnectionHandle>>>,
    announcements: Announcements,
    this: Weak<Engine>,
    next_connection: AtomicU64,
}

impl Engine {
    pub(crate) fn new(parts: EngineParts) -> Arc<Self> {
        let EngineParts { registry, any_rooms, schema, admission, hooks, bounds, directory, push, observed } =
            parts;
        let drain = Drain::new(bounds.drain_timeout);
        let ingest = Arc::new(Ingest {
            registry: Arc::clone(&registry),
            rooms: any_rooms,
            access: admission.access.clone(),
            limiter: Arc::clone(&admission.limiter),
            connection_limiter: Arc::clone(&admission.connection_limiter),
            hooks: hooks.clone(),
            push: push.clone(),
            directory: Arc::clone(&directory),
            drain: Arc::clone(&drain),
            detached: DetachedIngests::default(),
        });
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            announcements: Announcements::default(),
            registry,
            ingest,
            admission,
            response_budget: ResponseBudget::new(bounds.http.max_buffered_response_bytes),
            bounds,
            directory,
            push,
            observed,
            hooks,
            schema,
            drain,
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

    /// True if devices can be registered, for a room that is pushed.
    pub(crate) fn serves_devices(&self) -> bool {
        self.push.is_some()
            || self.registry.rooms.iter().any(|room| room.channels.contains(&Channel::WebPush))
    }

    /// Returns the declaration of a room, by the id of an instance.
    ///
    /// # Errors
    ///
    /// `ROOM_NOT_FOUND` if no such room is declared, or its key is invalid: over 128 bytes, with control characters, or
    /// not parsed by the key's type.
    pub(crate) fn room(&self, room_id: &str) -> Result<&Arc<RoomSpec>, Refusal> {
        const MAX_KEY_BYTES: usize = 128;
        let (room, key) = self.registry.declared(room_id)?;
        let is_invalid =
            key.is_some_and(|key| key.len() > MAX_KEY_BYTES || key.chars().any(char::is_control));
        let any_room = room.index.entry_of(&self.ingest.rooms);
        match any_room.is_some_and(|any_room| !is_invalid && any_room.is_key(key)) {
            true => Ok(room),
            false => Err(not_found(room_id)),
        }
    }

    /// Returns the id of a new connection.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
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
                unsealed = self.admission.identity.unseal(sealed).ok_or_else(invalid)?;
                Some(unsealed.as_str())
            }
            after => after,
        };
        let visible = |room: RoomRef<'_>, declared: &RoomSpec| {
            who.is_none_or(|who| self.admission.access.is_visible(who, room, declared))
        };
        let RoomListPage { rooms, more, scanned_to: looked_to } =
            self.registry.list(after, visible, limit).await?;
        let next = match looked_to {
            Some(room_id) => Some(self.admission.identity.seal(&room_id)),
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
        opener: Option<Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let (engine, room, room_id) = (Arc::clone(self), Arc::clone(room), room_id.to_owned());
        self.run_to_completion(
            async move { engine.create_inner(&room, &room_id, info, opener.as_ref()).await },
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
        let guard = self.drain.guard();
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
        opener: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let by = info.created_by.clone();
        let instance = self
            .registry
            .create(room, room_id, info, self.bounds.clients.max_created_rooms_per_user, opener)
            .await?;
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
        // `None` if a concurrent call has deleted it.
        let Some(removed) = instance.delete(DELETED_REASON).await? else { return Ok(()) };
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

    /// Removes a connection from the rooms that its user's new token no longer allows.
    pub(crate) async fn leave_forbidden_rooms(&self, link: &Arc<ConnectionHandle>) {
        let user = link.user();
        for instance in link.rooms() {
            if let Err(refusal) = instance.room.admits(&user) {
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
            successor.enqueue(RoomChange::RefuseEventsFrom(link.id()));
        }
        self.after_leave(link, &was_in, reason).await;
        true
    }

    /// Runs the application's `joined` hook for a connection that is new in a room; and the `left` hook, if the
    /// connection left meanwhile.
    pub(crate) async fn after_join(&self, link: &ConnectionHandle, instance: &LiveRoom) {
        let Some(hooks) = &self.hooks else { return };
        if link.begin_joined_hook(instance) {
            hooks.joined(&link.actor(), instance.room_ref()).await;
            // A leave while `joined` runs only notes its reason.
            if let Some(reason) = link.end_joined_hook(instance) {
                hooks.left(&link.actor(), instance.room_ref(), &reason).await;
            }
        }
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
        if let Some(metrics) = &self.observed.metrics {
            metrics.refused(source, code);
        }
    }

    /// Tells push that a connection is about to leave a room: its user has seen the room's events until now.
    pub(crate) fn note_push_departure(&self, link: &ConnectionHandle, instance: &LiveRoom) {
        if let Some(push) = self.push.as_ref().filter(|_| instance.room.channels.contains(&Channel::WebPush))
        {
            push.user_left(&link.user_id, &instance.id);
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
}

impl RegistryObserver for Engine {
    fn room_evicted(self: Arc<Self>, room: &Arc<RoomSpec>, room_id: &str) {
        self.announce_deleted(room, &room_id.into());
        self.announce_to_nodes(room_id, false);
    }

    fn removed_from_closed(
        self: Arc<Self>,
        link: Arc<ConnectionHandle>,
        instance: Arc<LiveRoom>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.after_leave(&link, &instance, DELETED_REASON).await })
    }

    fn reclaim_capacity(
        self: Arc<Self>,
        handle: Arc<ConnectionHandle>,
        instance: Arc<LiveRoom>,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        Box::pin(async move { self.remove_dead_connections_at_all_nodes(&handle, &instance).await })
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("schema", &self.schema).finish_non_exhaustive()
    }
}
