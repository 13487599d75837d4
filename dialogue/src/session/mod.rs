//! One connection's say: decodes requests, knows who sent them and which rooms it is in.
//!
//! Knows no socket: replies go to the connection's [`Outbox`].

#[cfg(test)]
mod fuzz;
mod instance;
#[cfg(test)]
mod moves_tests;
#[cfg(feature = "push")]
mod push;
mod request;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::time::timeout;
use tracing::{Instrument, Span};

pub(crate) use instance::{Creation, Requester, delete as delete_instance};
#[cfg(feature = "push")]
pub(crate) use push::{PushChange, PushRequest, apply as apply_push};
use request::Request;
pub(crate) use request::{bounded_limit, bounded_names, check_depth, invalid};

use crate::{
    Channel, Code, Position, Refusal, Sender,
    engine::{Engine, draining},
    gate::{Allowance, Post, Prepared, Subject},
    hub::{
        ConnectionHandle, DELETED_REASON, JoinError, JoinRequest, LiveRoom, Outbox, PublishReply,
        PublishRequest, RoomCommand, RoomSpec, busy, history, not_in_room, unavailable,
    },
    identity::{Credentials, Expiry, User},
    log::StoredId,
    observe::{CloseReason, ConnectionMeter, EventOrigin, Source, TraceParent, record_refusal, spans},
    store::{KeyScope, scoped},
    wire::{EventSet, frame},
};

/// See the [module](self). Leaves its rooms when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    /// `None` until somebody is told who this is.
    link: Option<Arc<ConnectionHandle>>,
    /// Where it comes from.
    address: Option<IpAddr>,
    /// As long as it is there.
    span: Span,
    /// Whom limits count.
    subject: Option<Subject>,
    allowance: Allowance,
    /// Frames that aren't counted among the user's requests yet.
    uncounted: u32,
    watches: bool,
    /// When the user's token expires.
    expires: Option<Expiry>,
    /// Set, once it is with its log, by the event of the last frame that went through middleware or hooks.
    at_log: Option<Arc<AtomicBool>>,
    /// The application wants none of it.
    turned_away: bool,
    connected: ConnectionMeter,
}

/// Whether the connection goes on after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// Nobody is told who this is: 4401.
    Unauthenticated,
    /// The application wants none of it: 4403.
    TurnedAway,
    /// It goes on though it is told to go slower: 4429.
    Hammers,
}

/// How a connection comes in.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) source: Source,
    /// Where it comes from, if that is known.
    pub(crate) address: Option<IpAddr>,
    /// The trace that its handshake is part of.
    pub(crate) parent: Option<TraceParent>,
}

/// A wish to join, before its room is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) wanted: Option<EventSet>,
    pub(crate) since: Option<Position>,
    pub(crate) slot: u8,
    pub(crate) id: Option<Box<RawValue>>,
}

/// The outcome of a join that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    In,
    /// It named a position in a room that was deleted, which isn't made again for that.
    Deleted,
}

/// Bounds of the protocol.
pub(crate) const HISTORY: (usize, usize) = (50, 200);
pub(crate) const ROOMS: (usize, usize) = (100, 1_000);
const MEMBERS: (usize, usize) = (100, 1_000);
/// How long a member that joins again waits until it has moved to the instance in place of a lost one.
const MOVE: Duration = Duration::from_secs(5);
/// Frames that are counted among a user's requests at once: each by itself would cost what its own limit does again.
const COUNTED_AT_ONCE: NonZeroU32 = NonZeroU32::new(32).expect("it is not 0");

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, outbox: Arc<Outbox>, entrance: Entrance) -> Self {
        let Entrance { source, address, parent } = entrance;
        let span = spans::connection(source, parent.as_ref());
        engine.traces.set_parent(&span, parent.as_ref());
        Session {
            span,
            allowance: engine.limiter.allowance(),
            uncounted: 0,
            engine,
            outbox,
            link: None,
            address,
            subject: address.map(Subject::at),
            watches: false,
            expires: None,
            at_log: None,
            turned_away: false,
            connected: ConnectionMeter::new(source),
        }
    }

    /// Whose session this is; the application may turn them away.
    pub(crate) async fn identify(&mut self, user: User) -> Result<(), Refusal> {
        let expires = user.expires().cloned();
        let subject = Subject::of(&user, self.address);
        let link = ConnectionHandle::new(Arc::clone(&self.outbox), user);
        if !self.span.is_disabled() {
            self.span.record("client_id", link.client_id.as_str()).record("user_id", &*link.user_id);
        }
        // Given back too if the client breaks off while the application thinks.
        let place = self.engine.directory.enter(&link).inspect_err(|_| self.turned_away = true)?;
        if let Some(hooks) = &self.engine.hooks {
            hooks.connect(&link.actor()).await.inspect_err(|_| self.turned_away = true)?;
        }
        place.keep();
        self.link = Some(link);
        self.subject = Some(subject);
        self.expires = expires;
        Ok(())
    }

    /// Says who the connection is: the first frame of a socket.
    pub(crate) fn greet(&self) {
        let Some(link) = &self.link else { return };
        let user = link.user();
        let connected = frame::Connected {
            client_id: link.client_id.as_str(),
            user_id: &link.user_id,
            protocol: 1,
            schema: &self.engine.schema,
            anonymous_token: user.anonymous_token.as_deref(),
        };
        self.send("connected", None, connected);
    }

    /// What all that it does belongs to.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn is_identified(&self) -> bool {
        self.link.is_some()
    }

    /// The time that is left of the user's token; `None` if it never expires.
    pub(crate) fn token_left(&self) -> Option<Duration> {
        self.expires.as_ref().map(Expiry::left)
    }

    /// When the token expires by which the user is known.
    pub(crate) fn expires(&self) -> Option<&Expiry> {
        self.expires.as_ref()
    }

    /// Its client is told that the connection stands: from now on it counts as one.
    pub(crate) fn open(&mut self) {
        self.connected.open(self.engine.metrics.as_ref());
    }

    /// Why the session is about to end.
    pub(crate) fn end(&mut self, ended: CloseReason) {
        self.connected.end(ended);
    }

    /// Handles one frame of text. Every request with an `id` gets one reply.
    pub(crate) async fn handle(&mut self, text: &str) -> Verdict {
        self.at_log = None;
        // In a box, so that a connection doesn't hold what it needs for a frame while it waits for one.
        let parsed = Request::parse(text, &self.engine.bounds);
        let parsed = parsed.and_then(|request| request.id().map(|id| (request, id)));
        let (request, id) = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return Box::pin(self.reject(refusal)).await,
        };
        if self.engine.drain.is_on() {
            return self.refuse(id, &draining());
        }
        let counted = self.count().await.and_then(|()| check_depth(text, self.engine.bounds.max_json_depth));
        let answered = match counted {
            Ok(()) => self.answer(&request, id).await,
            refused => refused,
        };
        match answered {
            Ok(()) => Verdict::GoOn,
            Err(refusal) => match (self.refuse(id, &refusal), refusal.code) {
                (Verdict::Hammers, _) => Verdict::Hammers,
                _ if self.link.is_some() => Verdict::GoOn,
                _ if self.turned_away => Verdict::TurnedAway,
                // It showed a token, and that was its chance.
                (_, Code::Unauthenticated) if request.is("auth") => Verdict::Unauthenticated,
                _ => Verdict::GoOn,
            },
        }
    }

    /// Answers a frame whose handling was given up in the middle as the instance drains: nothing was stored. It gets no
    /// answer if that isn't sure, since its event is with the log.
    pub(crate) fn give_up(&mut self, text: &str) -> Verdict {
        let stored = self.at_log.take().is_some_and(|at_log| at_log.load(Ordering::Relaxed));
        let id = Request::parse(text, &self.engine.bounds).and_then(|request| request.id());
        match id {
            Ok(id) if !stored => self.refuse(id, &draining()),
            _ => Verdict::GoOn,
        }
    }

    /// Answers a frame that is no request, which counts as one.
    pub(crate) async fn reject(&mut self, refusal: Refusal) -> Verdict {
        let refusal = self.count().await.err().unwrap_or(refusal);
        self.refuse(None, &refusal)
    }

    /// Counts a frame.
    pub(crate) async fn count(&mut self) -> Result<(), Refusal> {
        self.allowance.frame()?;
        self.uncounted += 1;
        if self.uncounted >= COUNTED_AT_ONCE.get() {
            self.uncounted = 0;
            self.subject.iter().for_each(|subject| self.engine.limiter.frames(subject, COUNTED_AT_ONCE));
        }
        match &self.subject {
            Some(subject) => self.engine.limiter.request(subject).await,
            None => Ok(()),
        }
    }

    /// Says why a request failed.
    pub(crate) fn refuse(&mut self, id: Option<&RawValue>, refusal: &Refusal) -> Verdict {
        self.engine.refused(Source::WebSocket, refusal.code);
        self.send("error", id, frame::Error::from(refusal));
        match refusal.code == Code::RateLimited && self.allowance.tell() {
            true => Verdict::Hammers,
            false => Verdict::GoOn,
        }
    }

    /// Lets the connection into a room that is served over `channel`.
    ///
    /// # Errors
    ///
    /// Also `ROOM_NOT_FOUND`, for a position in a room that was deleted.
    pub(crate) async fn join(
        &mut self,
        room_id: &str,
        channel: Channel,
        entry: Entry,
    ) -> Result<(), Refusal> {
        match self.join_unless_deleted(room_id, channel, entry).await? {
            Joined::In => Ok(()),
            Joined::Deleted => {
                Err(Refusal { message: DELETED_REASON.into(), ..crate::hub::not_found(room_id) })
            }
        }
    }

    /// Lets the connection into a room, unless it comes back to one that was deleted.
    pub(crate) async fn join_unless_deleted(
        &mut self,
        room_id: &str,
        channel: Channel,
        entry: Entry,
    ) -> Result<Joined, Refusal> {
        let engine = Arc::clone(&self.engine);
        let link = Arc::clone(self.link()?);
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&channel) {
            return Err(crate::hub::not_found(room_id));
        }
        if link.room_count() >= engine.bounds.max_rooms_per_connection && link.room(room_id).is_none() {
            let message =
                format!("a connection is in at most {} rooms", engine.bounds.max_rooms_per_connection);
            return Err(Refusal::new(Code::TooMany, message));
        }
        engine.may_join(&link.actor(), room, room_id).await?;
        let maker = engine.maker(&link.user_id, self.address);
        let mut looked_for_places = false;
        loop {
            let retired = link.room(room_id).filter(|before| before.is_closed());
            if link.is_migrating(room_id) {
                // Its log was lost, and the connection is on its way into the one in its place: it joins that again.
                let arrived = Box::pin(timeout(MOVE, link.migration_ended(room_id))).await;
                arrived.map_err(|_| unavailable(room_id))?;
                continue;
            }
            if let Some(before) = retired {
                engine.after_leave(&link, &before, DELETED_REASON).await;
            }
            if entry.since.is_some() && room.keyed && engine.registry.was_deleted(room_id).await? {
                return Ok(Joined::Deleted);
            }
            let instance = engine.registry.find_or_open(room, room_id, Some(&maker))?;
            let Entry { wanted, since, slot, id } = entry.clone();
            let mut join = JoinRequest {
                handle: Arc::clone(&link),
                slot,
                filter: wanted,
                since,
                stored_id: StoredId::NotRead,
                caught_up: false,
                migrated: false,
                id,
            };
            // Before the wait, so that whatever ends the wait also ends the membership.
            let Some(new) = link.enter(&instance) else { continue };
            let mut joined = instance.join(join.clone()).await;
            if let Some(Err(JoinError::NeedsStoredId(epoch))) = &joined {
                joined = match instance.stored_id_at(epoch, join.since.as_ref()).await {
                    Ok(stored_id) => {
                        join.stored_id = stored_id;
                        instance.join(join).await
                    }
                    Err(refusal) => Some(Err(JoinError::Refused(refusal))),
                };
            }
            match joined {
                Some(Ok(new)) => {
                    // Only where somebody then says that it was told.
                    if let Some(hooks) = &engine.hooks
                        && new
                        && link.begin_joined_hook(&instance)
                    {
                        hooks.joined(&link.actor(), instance.room_ref()).await;
                        if let Some(reason) = link.end_joined_hook(&instance) {
                            hooks.left(&link.actor(), instance.room_ref(), &reason).await;
                        }
                    }
                    return Ok(Joined::In);
                }
                Some(Err(JoinError::Refused(refusal))) => {
                    // In the instance that it was in, nobody is refused.
                    if new {
                        link.exit(&instance, "refused");
                    }
                    let full = refusal.code == Code::RoomFull;
                    if full && !std::mem::replace(&mut looked_for_places, true) {
                        // In a box, so that a connection doesn't hold what only this needs.
                        if Box::pin(engine.reclaim_capacity(&instance, &link)).await {
                            continue;
                        }
                    }
                    return Err(refusal);
                }
                // It went just now: the next try makes a new one.
                Some(Err(JoinError::Closed | JoinError::NeedsStoredId(_) | JoinError::NeedsCatchUp))
                | None => {
                    if link.is_migrating(room_id) {
                        continue;
                    }
                    engine.after_leave(&link, &instance, DELETED_REASON).await;
                    if let Some(refusal) = instance.failure() {
                        return Err(refusal);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Waits until what was put into its rooms before is on its way to it.
    pub(crate) fn caught_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let link = self.link.clone();
        async move {
            for room in link.map(|link| link.rooms()).unwrap_or_default() {
                room.run(|_| ()).await;
            }
        }
    }

    /// Says to a stream that a room of it was deleted before it came back.
    pub(crate) fn tell_deleted(&self, room_id: &str) {
        self.send("left", None, frame::Left { room_id, reason: Some(DELETED_REASON) });
    }

    /// Waits until the connection is in no room any more.
    pub(crate) fn left_all(&self) -> impl Future<Output = ()> + Send + 'static {
        let link = self.link.clone();
        async move {
            if let Some(link) = link {
                link.all_rooms_left().await;
            }
        }
    }

    async fn answer(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let kind = request.kind()?;
        if self.link.is_none() && kind != "auth" {
            return Err(Refusal::new(Code::Unauthenticated, "show a token first: `auth`"));
        }
        match &*kind {
            "trigger" => self.trigger(request, id).await,
            // In a box, so that a connection doesn't hold what they need while it waits for its next frame.
            kind => Box::pin(self.answer_rarely(kind, request, id)).await,
        }
    }

    async fn answer_rarely(
        &mut self,
        kind: &str,
        request: &Request<'_>,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        match kind {
            "join" => {
                let room_id = request.room_id()?;
                let (room, _) = self.engine.room(&room_id)?;
                let entry = Entry {
                    wanted: events(room, request)?,
                    since: request.since()?,
                    slot: 0,
                    id: id.map(RawValue::to_owned),
                };
                return self.join(&room_id, Channel::WebSocket, entry).await;
            }
            "leave" => self.leave(request, id).await?,
            "subscribe" => self.subscribe(request, id, EventSet::union).await?,
            "unsubscribe" => self.subscribe(request, id, EventSet::without).await?,
            "getHistory" => self.history(request, id).await?,
            "members" => self.members(request, id).await?,
            "listRooms" => self.list_rooms(request, id).await?,
            "createRoom" => self.create_room(request, id).await?,
            "deleteRoom" => self.delete_room(request, id).await?,
            "auth" => self.auth(&request.token()?, id).await?,
            #[cfg(feature = "push")]
            "registerPush" | "unregisterPush" => {
                let wanted = push::PushRequest::read(request)?;
                let change = if kind == "registerPush" {
                    push::PushChange::Register
                } else {
                    push::PushChange::Unregister
                };
                let actor = self.link()?.actor();
                push::apply(&self.engine, (&actor, self.subject.as_ref()), change, wanted).await?;
                self.done(id);
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(invalid(format!("`type`: there is no frame `{shown}`")));
            }
        }
        Ok(())
    }

    /// A token, on a live socket: the first, or a newer one of the same user.
    async fn auth(&mut self, token: &str, id: Option<&RawValue>) -> Result<(), Refusal> {
        let headers = http::HeaderMap::new();
        let credentials = Credentials { token: Some(token), headers: &headers, peer: None };
        let user = self.engine.identity.user(credentials).await?;
        let user = user.ok_or_else(|| Refusal::new(Code::Unauthenticated, "the token is not valid"))?;
        match &self.link {
            Some(link) if link.user_id == user.id => {
                self.expires = user.expires().cloned();
                link.renew(user);
                self.engine.leave_forbidden_rooms(link).await;
            }
            Some(_) => return Err(Refusal::new(Code::PermissionDenied, "the token is another user's")),
            None => {
                self.identify(user).await?;
                self.greet();
            }
        }
        self.done(id);
        Ok(())
    }

    async fn trigger(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let room = &instance.room;
        let name = request.event()?;
        let event = room.event(&name).ok_or_else(|| room.not_carried(&name))?;
        let about = (room.name, &*instance.id, room.event_name(event));
        let span = spans::trigger(Some(&self.span), Source::WebSocket, about);
        let origin = EventOrigin::now(&room.meter, Source::WebSocket, span.clone());
        let triggered = self.trigger_in(&instance, event, origin, request, id).await;
        triggered.inspect_err(|refusal| {
            room.meter.refused(Source::WebSocket, refusal);
            record_refusal(&span, refusal);
        })
    }

    async fn trigger_in(
        &mut self,
        instance: &Arc<LiveRoom>,
        event: u8,
        origin: EventOrigin,
        request: &Request<'_>,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        let link = Arc::clone(self.link()?);
        let room = &instance.room;
        if room.events.get(usize::from(event)).is_none_or(|kind| kind.sender == Sender::Server) {
            let message = format!("`{}` is sent by the server only", room.event_name(event));
            return Err(Refusal::new(Code::EventNotAllowed, message));
        }
        let (data, key, meta) = (request.data()?, request.key()?, request.meta()?);
        let meta = self.engine.traces.inject(&origin.span, meta);
        if let Some(subject) = &self.subject {
            self.engine.limiter.event(subject, room.index).await?;
        }
        let gate = self.engine.gates.get(room.index).ok_or_else(|| crate::hub::not_found(&instance.id))?;
        if self.engine.hooks.is_none() && !self.engine.pushes(room) {
            // Before there is anything to be held meanwhile.
            if instance.wait_for_inbox().await? && link.room(&instance.id).is_none() {
                return Err(not_in_room());
            }
            if let Some(prepared) = gate.open(event, data) {
                // Nothing waits for the log: its `ok` comes by itself, and the next frame may be on its way meanwhile.
                let Prepared { data, conflated } = prepared?;
                let reply = PublishReply::Frame(Arc::clone(&self.outbox), id.map(|id| id.get().into()));
                let from = Arc::clone(&link.user_id);
                let (server, event_id, by) = (false, None, None);
                let key = key.map(|key| scoped(KeyScope::User, key));
                let publish = PublishRequest {
                    event,
                    data,
                    conflated,
                    from,
                    server,
                    meta,
                    key,
                    event_id,
                    origin,
                    sender_outbox: by,
                    reply,
                };
                return instance.push(RoomCommand::Publish(publish)).map_err(|_| busy(&instance.id));
            }
        }
        let post = Box::new(Post {
            registry: Arc::clone(&self.engine.registry),
            room: Arc::clone(room),
            room_id: Arc::clone(&instance.id),
            event,
            from: Arc::clone(&link.user_id),
            user: Some(link.user()),
            subject: self.subject.clone(),
            limiter: Arc::clone(&self.engine.limiter),
            server: false,
            maker: Some(self.engine.maker(&link.user_id, self.address)),
            meta,
            key,
            // Also of a socket that showed no token: it goes on under its id, and was given the token of that.
            key_scope: KeyScope::User,
            origin,
            to: None,
            recipients: None,
            push: self.engine.push.clone(),
            link: Some(Arc::clone(&link)),
            at_log: Arc::default(),
        });
        let span = post.origin.span.clone();
        self.at_log = Some(Arc::clone(&post.at_log));
        let accepted = self.engine.trigger(link.actor(), gate, data, post).instrument(span).await?;
        if let Some(id) = id {
            self.outbox.send("ok", &frame::accepted(id.get(), &accepted));
        }
        Ok(())
    }

    async fn leave(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let room_id = request.room_id()?;
        let link = Arc::clone(self.link()?);
        let mut instance = match self.joined(&room_id) {
            Err(refusal) if refusal.code == Code::Unavailable => link.room(&room_id).ok_or(refusal)?,
            joined => joined?,
        };
        // The reply comes after the last event.
        if let Some(was_in) = link.remove_from(&instance, None).await {
            instance = was_in;
        }
        self.send("left", id, frame::Left { room_id: &instance.id, reason: None });
        self.engine.after_leave(&link, &instance, "left").await;
        Ok(())
    }

    async fn subscribe(
        &mut self,
        request: &Request<'_>,
        id: Option<&RawValue>,
        change: fn(EventSet, EventSet) -> EventSet,
    ) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let named = events(&instance.room, request)?.ok_or_else(|| invalid("`events` is missing"))?;
        let connection = self.outbox.id();
        match instance.run(move |state| state.subscribe(connection, |wanted| change(wanted, named))).await {
            Some(true) => self.done(id),
            _ if self.link()?.is_migrating(&instance.id) => return Err(unavailable(&instance.id)),
            // It was put out just now.
            _ => return Err(not_in_room()),
        }
        Ok(())
    }

    async fn history(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let wanted = match request.event_if_any()? {
            Some(event) => instance.room.events_named([&*event])?,
            None => EventSet::ALL,
        };
        let (before, limit) = (request.before()?, request.limit(HISTORY.0, HISTORY.1)?);
        let limit = limit.min(self.engine.bounds.max_history_events);
        let page = instance.history(before, wanted, limit).await?;
        self.outbox.send("history", &history(&instance.id, &page, id));
        Ok(())
    }

    async fn members(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let after = request.after()?.map(String::from);
        let limit = request.limit(MEMBERS.0, MEMBERS.1)?;
        let own_id = id.map(RawValue::to_owned);
        let list =
            instance.run(move |state| state.members_frame(after.as_deref(), limit, own_id.as_deref())).await;
        self.outbox.send("members", &list.ok_or_else(|| busy(&instance.id))?);
        Ok(())
    }

    async fn list_rooms(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let (after, limit) = (request.after()?, request.limit(ROOMS.0, ROOMS.1)?);
        let link = self.link()?;
        if request.watch()? && !self.watches {
            self.engine.watch(link);
            // Before the wait, so that an end of the wait also ends the watch.
            self.watches = true;
        }
        let link = self.link()?;
        let actor = link.actor();
        let rooms = self.engine.list(Some(&actor), after.as_deref(), limit).await?;
        self.send("rooms", id, rooms);
        Ok(())
    }

    /// Notes that the request at hand may be carried out though its frame is given up.
    fn is_carried_out(&mut self) {
        self.at_log = Some(Arc::new(AtomicBool::new(true)));
    }

    async fn create_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = self.link()?.actor();
        self.is_carried_out();
        Creation::read(request)?.carry_out(&self.engine, Requester::User(&actor, self.address)).await?;
        self.done(id);
        Ok(())
    }

    async fn delete_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = self.link()?.actor();
        self.is_carried_out();
        instance::delete(&self.engine, &request.room_id()?, Requester::User(&actor, self.address)).await?;
        self.done(id);
        Ok(())
    }

    fn link(&self) -> Result<&Arc<ConnectionHandle>, Refusal> {
        self.link.as_ref().ok_or_else(|| Refusal::new(Code::Unauthenticated, "show a token first: `auth`"))
    }

    /// A room that the connection is in.
    fn joined(&self, room_id: &str) -> Result<Arc<LiveRoom>, Refusal> {
        let link = self.link()?;
        match link.room(room_id) {
            Some(instance) if !instance.is_closed() => return Ok(instance),
            // Its log was lost, and the connection is on its way into the one in its place.
            Some(instance) if !instance.is_deleted() => return Err(unavailable(room_id)),
            // It was deleted, and everybody is told.
            Some(_) => {}
            None => drop(self.engine.room(room_id)?),
        }
        Err(not_in_room())
    }

    /// The `ok` of a request that has nothing more to say.
    fn done(&self, id: Option<&RawValue>) {
        if id.is_some() {
            self.send("ok", id, frame::Empty {});
        }
    }

    fn send<T: serde::Serialize>(&self, kind: &'static str, id: Option<&RawValue>, body: T) {
        self.outbox.send(kind, &frame::Frame::new(kind, id, body).encode());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(link) = self.link.take() else { return };
        let connection = link.id();
        link.close();
        link.rooms().iter().for_each(|instance| self.engine.note_push_departure(&link, instance));
        if self.watches {
            self.engine.unwatch(connection);
        }
        self.engine.directory.exit(&link);
        let Some(hooks) = self.engine.hooks.clone() else {
            link.rooms().iter().for_each(|instance| instance.release(&link));
            return;
        };
        // Hooks wait; whoever drops a session doesn't.
        let reason = self.connected.reason();
        // A drain waits for them too: the process may end with it.
        let counted = self.engine.drain_guard();
        self.engine.registry.spawn(async move {
            let actor = link.actor();
            for instance in link.rooms() {
                // Also where the room is no more.
                link.remove_from(&instance, None).await;
                if link.exit_closed(&instance) {
                    hooks.left(&actor, instance.room_ref(), reason).await;
                }
            }
            hooks.disconnect(&actor, reason).await;
            drop(counted);
        });
    }
}

fn events(room: &RoomSpec, request: &Request<'_>) -> Result<Option<EventSet>, Refusal> {
    let named = request.events()?;
    named.map(|named| room.events_named(named.iter().map(|name| &**name))).transpose()
}
