//! What all channels of a server share.

mod announcements;
mod bounds;
mod everywhere;
mod health;
mod places;
mod responses;
mod underway;

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

use announcements::{Announcements, Kind};
pub(crate) use bounds::ServerBounds;
pub use health::Health;
use parking_lot::Mutex;
pub(crate) use responses::{Held, Responses};
use tokio::{
    sync::{Notify, Semaphore, oneshot, watch},
    time::timeout,
};
pub(crate) use underway::Underway;

use crate::{
    Channel, Code, Refusal,
    gate::{AnyRoom, ConnectionLimiter, ConnectionPermit, Flow, Limiter, Trigger},
    hooks::{AnyHooks, RoomRef, UntypedCaller},
    hub::{
        Audience, ConnectionId, DELETED, Instance, InstanceInfo, Link, Listed, Maker, Registry, RoomDecl,
        not_found,
    },
    identity::{Authentication, User},
    observe::{Measures, Probed, Source, Traces},
    origins::Origins,
    push::Dispatch,
    user_connections::UserConnections,
    wire::frame,
};

/// The rooms, who may use them, and how much of anything.
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) gates: Vec<Arc<dyn AnyRoom>>,
    pub(crate) identity: Authentication,
    pub(crate) bounds: ServerBounds,
    /// Long responses that wait for their clients.
    pub(crate) responses: Arc<Responses>,
    pub(crate) origins: Origins,
    pub(crate) directory: Arc<UserConnections>,
    /// Who tells those that are away.
    pub(crate) push: Option<Arc<Dispatch>>,
    /// What is measured, if anybody looks.
    pub(crate) measures: Option<Arc<Measures>>,
    pub(crate) traces: Traces,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) doors: Arc<ConnectionLimiter>,
    /// The application's own, if it has some: without, an event costs nothing for them.
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    /// The hash of the declared rooms and events.
    pub(crate) schema: String,
    pub(crate) drain: Drain,
    /// Permits for events that are finished without their senders.
    finishing: Arc<Semaphore>,
    /// Set once it was logged that no such permit is left, until there is one again.
    finishes_too_much: AtomicBool,
    watchers: Mutex<HashMap<ConnectionId, Arc<Link>>>,
    announcements: Announcements,
    this: Weak<Engine>,
    next_connection: AtomicU64,
}

/// Whether the instance is going, and who is still on it.
pub(crate) struct Drain {
    state: watch::Sender<bool>,
    /// The same as an atomic, since it is read with every frame.
    on: AtomicBool,
    connections: AtomicUsize,
    left: Notify,
    /// How many may put events into rooms.
    speakers: watch::Sender<usize>,
}

/// Counts one connection for as long as it lives.
pub(crate) struct Counted {
    engine: Arc<Engine>,
    /// Its place at its address.
    _visit: Option<ConnectionPermit>,
}

/// Counts one who may put events into rooms.
pub(crate) struct Speaking(Arc<Engine>);

/// How long those who speak when draining starts may take to finish.
const FINISH: Duration = Duration::from_secs(5);
/// Over how long those who are sent away come back.
const SPREAD_MS: u64 = 3_000;

/// What an application decides of an [`Engine`].
pub(crate) struct Rules {
    pub(crate) identity: Authentication,
    pub(crate) bounds: ServerBounds,
    pub(crate) limiter: Limiter,
    pub(crate) doors: Arc<ConnectionLimiter>,
    pub(crate) origins: Origins,
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    pub(crate) directory: Arc<UserConnections>,
    pub(crate) push: Option<Arc<Dispatch>>,
    pub(crate) measures: Option<Arc<Measures>>,
    pub(crate) traces: Traces,
}

impl Engine {
    pub(crate) fn new(
        registry: Arc<Registry>,
        gates: Vec<Arc<dyn AnyRoom>>,
        rules: Rules,
        schema: String,
    ) -> Arc<Self> {
        let Rules { identity, bounds, limiter, doors, origins, hooks, directory, push, measures, traces } =
            rules;
        let engine = Arc::new_cyclic(|this| Engine {
            this: Weak::clone(this),
            announcements: Announcements::default(),
            registry,
            gates,
            identity,
            directory,
            push,
            measures,
            traces,
            limiter: Arc::new(limiter),
            doors,
            responses: Responses::new(bounds.max_buffered_response_bytes),
            bounds,
            origins,
            hooks,
            schema,
            drain: Drain {
                state: watch::Sender::new(false),
                on: AtomicBool::new(false),
                connections: AtomicUsize::new(0),
                left: Notify::new(),
                speakers: watch::Sender::new(0),
            },
            finishing: Arc::new(Semaphore::new(underway::FINISHING)),
            finishes_too_much: AtomicBool::new(false),
            watchers: Mutex::default(),
            next_connection: AtomicU64::new(1),
        });
        if let Some(peers) = engine.registry.peers() {
            let attendant: Weak<Engine> = Arc::downgrade(&engine);
            peers.attend(attendant);
        }
        let audience: Weak<Engine> = Arc::downgrade(&engine);
        engine.registry.tell_forgotten(audience);
        engine
    }

    /// A room by its id, and what guards it; checks that its key is one.
    pub(crate) fn room(&self, room_id: &str) -> Result<(&Arc<RoomDecl>, &Arc<dyn AnyRoom>), Refusal> {
        const LONGEST_KEY: usize = 128;
        let (room, key) = self.registry.declared(room_id)?;
        let bad = key.is_some_and(|key| key.len() > LONGEST_KEY || key.chars().any(char::is_control));
        let gate = self.gates.get(room.index).filter(|gate| !bad && gate.is_key(key));
        gate.map(|gate| (room, gate)).ok_or_else(|| not_found(room_id))
    }

    pub(crate) fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Counts a connection; refuses it while the instance drains.
    pub(crate) fn admit(self: &Arc<Self>, visit: ConnectionPermit) -> Result<Counted, Refusal> {
        let mut counted = self.count();
        counted._visit = Some(visit);
        if self.drain.is_on() {
            return Err(draining());
        }
        Ok(counted)
    }

    /// Counts what a drain waits for.
    pub(crate) fn count(self: &Arc<Self>) -> Counted {
        self.drain.connections.fetch_add(1, Ordering::AcqRel);
        Counted { engine: Arc::clone(self), _visit: None }
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

    /// Whether somebody may be in a room.
    pub(crate) async fn may_join(
        &self,
        who: &UntypedCaller,
        room: &RoomDecl,
        room_id: &str,
    ) -> Result<(), Refusal> {
        is_allowed(&who.user, room)?;
        match &self.hooks {
            Some(hooks) => hooks.before_join(who, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Whether somebody may make an instance of a keyed room.
    pub(crate) async fn may_create(
        &self,
        who: &UntypedCaller,
        room: &RoomDecl,
        room_id: &str,
    ) -> Result<(), Refusal> {
        self.may_join(who, room, room_id).await?;
        match &self.hooks {
            Some(hooks) => hooks.before_create(who, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Whether somebody is told of an instance.
    pub(crate) fn sees(&self, who: &UntypedCaller, room: RoomRef<'_>, declared: &RoomDecl) -> bool {
        is_allowed(&who.user, declared).is_ok()
            && self.hooks.as_ref().is_none_or(|hooks| hooks.sees(who, room))
    }

    /// Some of the rooms that somebody may join, or of all for the application's backend. Where a page ends between rooms that
    /// they may not know of, it says where to go on without naming one.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST` if `after` is where to go on, but of no page of ours; `UNAVAILABLE` while the store can't be read.
    pub(crate) async fn list(
        &self,
        who: Option<&UntypedCaller>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<frame::Rooms, Refusal> {
        let unsealed;
        let after = match after {
            Some(sealed) if Authentication::is_sealed(sealed) => {
                let foreign = || Refusal::new(Code::InvalidRequest, "`after` is of another server");
                unsealed = self.identity.unseal(sealed).ok_or_else(foreign)?;
                Some(unsealed.as_str())
            }
            after => after,
        };
        let visible =
            |room: RoomRef<'_>, declared: &RoomDecl| who.is_none_or(|who| self.sees(who, room, declared));
        let Listed { rooms, more, looked_to } = self.registry.list(after, visible, limit).await?;
        let next = match looked_to {
            Some(room_id) => Some(self.identity.seal(&room_id)),
            None => rooms.last().filter(|_| more).map(|last| last.room_id.clone()),
        };
        Ok(frame::Rooms { rooms, more, next })
    }

    /// Makes an instance of a keyed room, and announces it to the clients that watch: all of it, even if the caller drops its
    /// future.
    pub(crate) async fn create(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: InstanceInfo,
        maker: Option<Maker>,
    ) -> Result<Arc<Instance>, Refusal> {
        let (engine, room, room_id) = (Arc::clone(self), Arc::clone(room), room_id.to_owned());
        self.to_the_end(async move { engine.create_here(&room, &room_id, info, maker.as_ref()).await }).await
    }

    /// Runs what may not be broken off in the middle on a task of its own, which a drain waits for.
    async fn to_the_end<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (done, outcome) = oneshot::channel();
        // It ends with a bounded call of the store, and the application's own hooks.
        let counted = self.count();
        self.registry.spawn(async move {
            let outcome = work.await;
            drop(counted);
            drop(done.send(outcome));
        });
        outcome.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error")))
    }

    async fn create_here(
        &self,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: InstanceInfo,
        maker: Option<&Maker>,
    ) -> Result<Arc<Instance>, Refusal> {
        let by = info.created_by.clone();
        let instance =
            self.registry.create(room, room_id, info, self.bounds.max_created_rooms_per_user, maker).await?;
        let created = frame::RoomCreated { room: instance.describe() };
        let json = frame::Frame::new("roomCreated", None, created).encode();
        self.announce(&instance.room, &instance.id, Kind::Created, json);
        self.announce_elsewhere(room_id, true);
        if let Some(hooks) = &self.hooks {
            hooks.room_created(instance.room_ref(), by.as_deref()).await;
        }
        Ok(instance)
    }

    /// Ends an instance for everybody in it, and tells those who watch; completes as [`create`](Self::create) does.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't do it.
    pub(crate) async fn delete(self: &Arc<Self>, instance: &Arc<Instance>) -> Result<(), Refusal> {
        let (engine, instance) = (Arc::clone(self), Arc::clone(instance));
        self.to_the_end(async move { engine.delete_here(&instance).await }).await
    }

    async fn delete_here(&self, instance: &Arc<Instance>) -> Result<(), Refusal> {
        // Of several at once, one deletes it.
        let deleting = instance.wait(|state| Box::pin(state.delete(DELETED))).await;
        let Some(gone) = deleting?? else { return Ok(()) };
        for link in gone {
            self.left(&link, instance, DELETED).await;
        }
        self.announce_deleted(&instance.room, &instance.id);
        self.announce_elsewhere(&instance.id, false);
        if let Some(hooks) = &self.hooks {
            hooks.room_deleted(instance.room_ref()).await;
        }
        Ok(())
    }

    /// Takes a user's event through the application's hooks and the room's gate into its log.
    pub(crate) fn trigger(
        self: &Arc<Self>,
        who: UntypedCaller,
        gate: &Arc<dyn AnyRoom>,
        data: &str,
        mut post: Box<Trigger>,
    ) -> Underway {
        let Some(hooks) = self.hooks.clone() else { return self.admit_event(gate, data, post) };
        let (gate, data) = (Arc::clone(gate), data.to_owned());
        self.underway(post.room.options.wait, Arc::clone(&post.is_submitted), async move {
            let (room_id, room, event) = (Arc::clone(&post.room_id), Arc::clone(&post.room), post.event);
            let (room_ref, event) = (RoomRef { id: &room_id, name: room.name }, room.event_name(event));
            hooks.before_trigger(&who, room_ref, event).await?;
            let recipients = Arc::new(AtomicUsize::new(0));
            post.recipient_count = Some(Arc::clone(&recipients));
            let accepted = admit(&gate, &data, post).await?;
            hooks.after_trigger(&who, room_ref, event, &accepted, recipients.load(Ordering::Relaxed)).await;
            Ok(accepted)
        })
    }

    /// Takes an event through the room's gate into its log.
    pub(crate) fn admit_event(
        self: &Arc<Self>,
        gate: &Arc<dyn AnyRoom>,
        data: &str,
        post: Box<Trigger>,
    ) -> Underway {
        let (gate, data) = (Arc::clone(gate), data.to_owned());
        self.underway(post.room.options.wait, Arc::clone(&post.is_submitted), async move {
            admit(&gate, &data, post).await
        })
    }

    /// The way of an event into its room, in which it is held for at most `wait` while the log can't be written.
    pub(crate) fn underway(
        self: &Arc<Self>,
        wait: Option<Duration>,
        at_log: Arc<AtomicBool>,
        way: impl Future<Output = Flow> + Send + 'static,
    ) -> Underway {
        Underway::new(self, at_log, wait, way)
    }

    /// Puts a connection out of the rooms that its user's newer token no longer opens.
    pub(crate) async fn review(&self, link: &Arc<Link>) {
        let user = link.user();
        for instance in link.rooms() {
            if let Err(refusal) = is_allowed(&user, &instance.room) {
                self.put_out(link, &instance, &refusal.message).await;
            }
        }
    }

    /// Puts a connection out of a room; yields whether it was in.
    pub(crate) async fn put_out(&self, link: &Arc<Link>, instance: &Arc<Instance>, reason: &str) -> bool {
        let Some(was_in) = link.take_out(instance, Some(reason)).await else { return false };
        if was_in.is_retired()
            && let Some(next) = self.registry.find(&was_in.id)
        {
            // Events that it sent go there.
            let connection = link.id();
            next.cast(move |state| state.refuse_events_of(connection));
        }
        self.left(link, &was_in, reason).await;
        true
    }

    /// The room let a connection go, or is no more: so does the connection, and the application is told, once.
    pub(crate) async fn left(&self, link: &Link, instance: &Instance, reason: &str) {
        self.departed(link, instance);
        if let (true, Some(hooks)) = (link.exit(instance, reason), &self.hooks) {
            hooks.left(&link.actor(), instance.room_ref(), reason).await;
        }
    }

    /// Waits until nobody is left, and what is to be pushed is where it is safe.
    pub(crate) async fn settled(&self) {
        self.drain.finished().await;
        if let Some(peers) = self.registry.peers() {
            peers.leave().await;
        }
        if let Some(push) = &self.push {
            push.settle().await;
        }
    }

    /// What is measured only when somebody looks.
    pub(crate) fn probed(&self) -> Probed {
        let pushes = self.push.as_ref().map(|push| push.outcomes()).unwrap_or_default();
        Probed {
            waiting: self.directory.queued_bytes(),
            draining: self.drain.is_on(),
            store: self.registry.store_probed(),
            peers: self.registry.peers().map(|peers| peers.instances()),
            pushes,
        }
    }

    /// Somebody is answered with an error.
    pub(crate) fn refused(&self, source: Source, code: Code) {
        if let Some(measures) = &self.measures {
            measures.refused(source, code);
        }
    }

    /// Whether events of a room are for those who are away, too.
    pub(crate) fn pushes(&self, room: &RoomDecl) -> bool {
        self.push.is_some() && room.channels.contains(&Channel::WebPush)
    }

    /// A connection is about to be no longer in a room: until now its user saw what was said there.
    pub(crate) fn departed(&self, link: &Link, instance: &Instance) {
        if let Some(push) = self.push.as_ref().filter(|_| instance.room.channels.contains(&Channel::WebPush))
        {
            push.departed(&link.user_id, &instance.id);
        }
    }

    /// Counts somebody who may put events into rooms; whether the instance drains is to be asked after that.
    pub(crate) fn speak(self: &Arc<Self>) -> Speaking {
        self.drain.speakers.send_modify(|speakers| *speakers += 1);
        Speaking(Arc::clone(self))
    }

    /// Waits until the instance drains and nobody speaks any more: all that is acknowledged is with the rooms then, so
    /// that whoever hears their rooms out misses nothing of it.
    pub(crate) fn silent(&self) -> impl Future<Output = ()> + Send + 'static {
        let (started, mut speakers) = (self.drain.started(), self.drain.speakers.subscribe());
        let finish = FINISH.min(self.bounds.drain_timeout / 2);
        async move {
            started.await;
            let silent = async { speakers.wait_for(|speakers| *speakers == 0).await.map(drop) };
            // Who takes longer is heard by those who come back.
            let _ = timeout(finish, silent).await;
        }
    }

    /// From now on, the connection is told of rooms that come and go.
    pub(crate) fn watch(&self, link: &Arc<Link>) {
        self.watchers.lock().insert(link.id(), Arc::clone(link));
    }

    pub(crate) fn unwatch(&self, connection: ConnectionId) {
        self.watchers.lock().remove(&connection);
    }

    /// Tells those who watch that a room is no more.
    fn announce_deleted(&self, room: &Arc<RoomDecl>, room_id: &Arc<str>) {
        let json = frame::Frame::new("roomDeleted", None, frame::RoomDeleted { room_id }).encode();
        self.announce(room, room_id, Kind::Deleted, json);
    }

    /// The client for whom an instance is made.
    pub(crate) fn maker(&self, user: &Arc<str>, address: Option<IpAddr>) -> Maker {
        Maker { user: Arc::clone(user), address: self.doors.counted_address(address) }
    }
}

impl Audience for Engine {
    fn forgotten(self: Arc<Self>, room: &Arc<RoomDecl>, room_id: &str) {
        self.announce_deleted(room, &room_id.into());
        self.announce_elsewhere(room_id, false);
    }

    fn removed_by_deletion(
        self: Arc<Self>,
        link: Arc<Link>,
        instance: Arc<Instance>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move { self.left(&link, &instance, DELETED).await })
    }
}

async fn admit(gate: &Arc<dyn AnyRoom>, data: &str, post: Box<Trigger>) -> Flow {
    match gate.encode_without_middleware(post.event, data) {
        Some(prepared) => post.publish(prepared?).await,
        None => gate.ingest_json(data, post).await,
    }
}

/// Whether a user has the role and the identity that a room needs.
fn is_allowed(user: &User, room: &RoomDecl) -> Result<(), Refusal> {
    if let Some(role) = room.options.role.filter(|role| !user.has_role(role)) {
        return Err(Refusal::join_denied(format!("room `{}` needs the role `{role}`", room.name)));
    }
    room.asked.identity_of(user, room.name).map(drop)
}

impl Drain {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Sends everybody away.
    pub(crate) fn start(&self) {
        self.on.store(true, Ordering::SeqCst);
        self.state.send_replace(true);
    }

    /// Waits until draining starts.
    pub(crate) fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state.subscribe();
        async move {
            // The engine, which has the sender, outlives whoever waits.
            let _ = state.wait_for(|on| *on).await.map(drop);
        }
    }

    /// Waits until nobody is left.
    pub(crate) async fn finished(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.connections.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.engine.drain.connections.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.engine.drain.left.notify_waiters();
        }
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.0.drain.speakers.send_modify(|speakers| *speakers -= 1);
    }
}

/// When one of those who are sent away comes back: spread, so that the others aren't overrun.
pub(crate) fn spread_ms() -> u64 {
    fastrand::u64(..SPREAD_MS)
}

/// What newcomers are told while the instance drains.
pub(crate) fn draining() -> Refusal {
    Refusal::new(Code::Unavailable, "this instance is going down; try another, or again in a moment")
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("schema", &self.schema).finish_non_exhaustive()
    }
}
