//! What all channels of a server share.

mod everywhere;
mod limits;

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) use limits::Limits;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{
    Channel, Code, Refusal,
    directory::Directory,
    gate::{AnyRoom, Doors, Flow, Limiter, Post, Visit},
    hooks::{Actor, AnyHooks, RoomRef},
    hub::{ConnectionId, DELETED, Instance, InstanceInfo, Link, Registry, RoomDecl, not_found},
    identity::{Identity, User},
    observe::{Measures, Probed, Source, Traces},
    origins::Origins,
    push::Dispatch,
    wire::frame,
};

/// The rooms, who may use them, and how much of anything.
pub(crate) struct Engine {
    pub(crate) registry: Arc<Registry>,
    pub(crate) gates: Vec<Arc<dyn AnyRoom>>,
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) origins: Origins,
    pub(crate) directory: Arc<Directory>,
    /// Who tells those that are away.
    pub(crate) push: Option<Arc<Dispatch>>,
    /// What is measured, if anybody looks.
    pub(crate) measures: Option<Arc<Measures>>,
    pub(crate) traces: Traces,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) doors: Arc<Doors>,
    /// The application's own, if it has some: without, an event costs nothing for them.
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    /// The hash of the declared rooms and events.
    pub(crate) schema: String,
    pub(crate) drain: Drain,
    watchers: Mutex<HashMap<ConnectionId, Arc<Link>>>,
    next_connection: AtomicU64,
}

/// Whether the instance is going, and who is still on it.
pub(crate) struct Drain {
    state: watch::Sender<bool>,
    connections: AtomicUsize,
    left: Notify,
    /// How many may put events into rooms.
    speakers: watch::Sender<usize>,
}

/// Counts one connection for as long as it lives.
pub(crate) struct Counted {
    engine: Arc<Engine>,
    /// Its place at its address.
    _visit: Option<Visit>,
}

/// Counts one who may put events into rooms.
pub(crate) struct Speaking(Arc<Engine>);

/// How long those who speak when draining starts may take to finish.
const FINISH: Duration = Duration::from_secs(5);
/// Over how long those who are sent away come back.
const SPREAD_MS: u64 = 3_000;

/// What an application decides of an [`Engine`].
pub(crate) struct Rules {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    pub(crate) limiter: Limiter,
    pub(crate) doors: Arc<Doors>,
    pub(crate) origins: Origins,
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    pub(crate) directory: Arc<Directory>,
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
        let Rules { identity, limits, limiter, doors, origins, hooks, directory, push, measures, traces } =
            rules;
        let engine = Arc::new(Engine {
            registry,
            gates,
            identity,
            directory,
            push,
            measures,
            traces,
            limiter: Arc::new(limiter),
            doors,
            limits,
            origins,
            hooks,
            schema,
            drain: Drain {
                state: watch::Sender::new(false),
                connections: AtomicUsize::new(0),
                left: Notify::new(),
                speakers: watch::Sender::new(0),
            },
            watchers: Mutex::default(),
            next_connection: AtomicU64::new(1),
        });
        if let Some(peers) = engine.registry.peers() {
            let attendant: Weak<Engine> = Arc::downgrade(&engine);
            peers.attend(attendant);
        }
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
    pub(crate) fn admit(self: &Arc<Self>, visit: Visit) -> Result<Counted, Refusal> {
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

    /// Whether somebody may be in a room.
    pub(crate) async fn may_join(&self, who: &Actor, room: &RoomDecl, room_id: &str) -> Result<(), Refusal> {
        is_allowed(&who.user, room)?;
        match &self.hooks {
            Some(hooks) => hooks.before_join(who, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Whether somebody may make an instance of a keyed room.
    pub(crate) async fn may_create(
        &self,
        who: &Actor,
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
    pub(crate) fn sees(&self, who: &Actor, room: RoomRef<'_>, declared: &RoomDecl) -> bool {
        is_allowed(&who.user, declared).is_ok()
            && self.hooks.as_ref().is_none_or(|hooks| hooks.sees(who, room))
    }

    /// Makes an instance of a keyed room, and tells those who watch.
    pub(crate) async fn create(
        &self,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: InstanceInfo,
    ) -> Result<Arc<Instance>, Refusal> {
        let by = info.created_by.clone();
        let instance = self.registry.create(room, room_id, info, self.limits.created).await?;
        let created = frame::RoomCreated { room: instance.describe() };
        let json = frame::Frame::new("roomCreated", None, created).encode();
        self.announce(instance.room_ref(), &instance.room, "roomCreated", &json);
        self.announce_elsewhere(room_id, true);
        if let Some(hooks) = &self.hooks {
            hooks.room_created(instance.room_ref(), by.as_deref()).await;
        }
        Ok(instance)
    }

    /// Ends an instance for everybody in it, and tells those who watch.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't do it.
    pub(crate) async fn delete(&self, instance: &Arc<Instance>) -> Result<(), Refusal> {
        // Of several at once, one deletes it.
        let deleting = instance.wait(|state| Box::pin(state.delete(DELETED))).await;
        let Some(gone) = deleting?? else { return Ok(()) };
        for link in gone {
            self.left(&link, instance, DELETED).await;
        }
        let deleted = frame::RoomDeleted { room_id: &instance.id };
        let json = frame::Frame::new("roomDeleted", None, deleted).encode();
        self.announce(instance.room_ref(), &instance.room, "roomDeleted", &json);
        self.announce_elsewhere(&instance.id, false);
        if let Some(hooks) = &self.hooks {
            hooks.room_deleted(instance.room_ref()).await;
        }
        Ok(())
    }

    /// Takes a user's event through the application's hooks and the room's gate into its log.
    pub(crate) async fn trigger(
        &self,
        who: &Actor,
        gate: &Arc<dyn AnyRoom>,
        data: &str,
        mut post: Box<Post>,
    ) -> Flow {
        let Some(hooks) = &self.hooks else { return self.admit_event(gate, data, post).await };
        let (room_id, room, event) = (Arc::clone(&post.room_id), Arc::clone(&post.room), post.event);
        let (room_ref, event) = (RoomRef { id: &room_id, name: room.name }, room.event_name(event));
        hooks.before_trigger(who, room_ref, event).await?;
        let recipients = Arc::new(AtomicUsize::new(0));
        post.recipients = Some(Arc::clone(&recipients));
        let accepted = self.admit_event(gate, data, post).await?;
        hooks.after_trigger(who, room_ref, event, &accepted, recipients.load(Ordering::Relaxed)).await;
        Ok(accepted)
    }

    /// Takes an event through the room's gate into its log.
    pub(crate) async fn admit_event(&self, gate: &Arc<dyn AnyRoom>, data: &str, post: Box<Post>) -> Flow {
        match gate.open(post.event, data) {
            Some(prepared) => post.put(prepared?).await,
            None => gate.admit(data, post).await,
        }
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
        let (member, said) = (Arc::clone(link), reason.to_owned());
        let was_in = instance.run(move |state| state.remove(&member, &said)).await.unwrap_or(false);
        if was_in {
            self.left(link, instance, reason).await;
        }
        was_in
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
            waiting: self.directory.waiting(),
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
        let finish = FINISH.min(self.limits.drain / 2);
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

    /// Tells those who watch, and may join.
    fn announce(&self, room: RoomRef<'_>, declared: &RoomDecl, kind: &'static str, json: &[u8]) {
        // Sending never waits, but the application is asked: not under the lock.
        let watchers: Vec<_> = self.watchers.lock().values().cloned().collect();
        for link in watchers.iter().filter(|link| self.sees(&link.actor(), room, declared)) {
            link.outbox.send(kind, json);
        }
    }
}

/// Whether a user has the role and the identity that a room needs.
fn is_allowed(user: &User, room: &RoomDecl) -> Result<(), Refusal> {
    if let Some(role) = room.options.role.filter(|role| !user.has_role(role)) {
        return Err(Refusal::join_denied(format!("room `{}` needs the role `{role}`", room.name)));
    }
    room.asked.of_user(user, room.name).map(drop)
}

impl Drain {
    pub(crate) fn is_on(&self) -> bool {
        *self.state.borrow()
    }

    /// Sends everybody away.
    pub(crate) fn start(&self) {
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
