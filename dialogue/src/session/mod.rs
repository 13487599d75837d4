//! The session: the protocol state machine of one connection (PROTOCOL.md, "Frames from client to
//! server").
//!
//! A [`Session`] handles the frames of a WebSocket, and the joins of an event stream. It identifies the user, enforces
//! rate limits, and carries out one request at a time. It does no I/O: `channel` reads the frames, and replies go to
//! the connection's [`Outbox`].

use crate::{hub::StreamSlot, wire::EventIndex};
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod lost_log_tests;
#[cfg(feature = "push")]
mod push;
mod request;
mod room_lifecycle;
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

#[cfg(feature = "push")]
pub(crate) use push::{PushChange, PushRequest, apply as apply_push};
use request::Request;
pub(crate) use request::{PageLimits, check_depth, check_event_count, invalid};
pub(crate) use room_lifecycle::{CreateRoom, Requester, delete as delete_room};

use crate::{
    Code, Refusal,
    engine::{Engine, draining},
    event::Sender,
    hub::{
        ConnectionHandle, DELETED_REASON, JoinError, JoinRequest, LiveRoom, Outbox, PublishReply,
        PublishRequest, RoomCommand, RoomSpec, busy, history, not_in_room, unavailable,
    },
    identity::{Credentials, Expiry, User},
    ingest::{EncodedEvent, Trigger},
    limits::{FrameLimiter, RateLimitKey},
    log::StoredId,
    observe::{CloseReason, ConnectionMeter, EventOrigin, Source, TraceParent, record_refusal, spans},
    room::Channel,
    store::{KeyScope, scoped},
    wire::{EventSet, Position, frame},
};

/// The state of one connection, which leaves its rooms when this is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    engine: Arc<Engine>,
    outbox: Arc<Outbox>,
    /// `None` until the user is identified.
    connection: Option<Arc<ConnectionHandle>>,
    /// The client's address, if it is known.
    address: Option<IpAddr>,
    /// The span of the connection.
    span: Span,
    /// The key that rate limits count by.
    rate_limit_key: Option<RateLimitKey>,
    frame_limiter: FrameLimiter,
    /// The number of frames that are not charged to the user's HTTP limit yet.
    uncharged_frames: u32,
    watches_rooms: bool,
    /// The expiry of the user's token.
    expires: Option<Expiry>,
    /// Set once the event of the current frame is handed to its room; present if it passes middleware or hooks.
    is_submitted: Option<Arc<AtomicBool>>,
    /// Set if the connection was refused, by a bound or by the application's hook.
    is_refused: bool,
    connected: ConnectionMeter,
}

/// The outcome of a frame for the connection: it continues, or is closed with a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameOutcome {
    Continue,
    /// The client showed no valid token: 4401.
    Unauthenticated,
    /// The connection was refused, by a bound or by the application's hook: 4403.
    Refused,
    /// The client ignores `RATE_LIMITED` refusals: 4429.
    RateLimited,
}

/// The properties of a new connection, from its handshake.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) source: Source,
    /// The client's address, if it is known.
    pub(crate) address: Option<IpAddr>,
    /// The trace context of the handshake (W3C Trace Context).
    pub(crate) parent: Option<TraceParent>,
}

/// The parameters of a join, without the room.
#[derive(Debug, Clone, Default)]
pub(crate) struct JoinOptions {
    /// The events to subscribe to; `None` keeps the subscription, or subscribes to the room's default events.
    pub(crate) filter: Option<EventSet>,
    /// The position to resume from.
    pub(crate) since: Option<Position>,
    /// The index of the room among those of an event stream.
    pub(crate) slot: StreamSlot,
    /// The id of the request.
    pub(crate) id: Option<Box<RawValue>>,
}

/// The outcome of a join that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinOutcome {
    Joined,
    /// The join named a position in a room instance that was deleted. A resume does not create the instance again.
    RoomDeleted,
}

/// `limit` in `getHistory`.
pub(crate) const HISTORY_LIMITS: PageLimits = PageLimits { default: 50, max: 200 };
/// `limit` in `listRooms`.
pub(crate) const ROOM_LIST_LIMITS: PageLimits = PageLimits { default: 100, max: 1_000 };
/// `limit` in `members`.
const MEMBER_LIMITS: PageLimits = PageLimits { default: 100, max: 1_000 };
/// The maximum time for which a repeated join waits until its member has moved from an instance that lost its log to
/// the next.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of frames that are charged to the user's HTTP limit at once: charging each one would cost as much as the
/// frame limit itself.
const FRAMES_PER_CHARGE: NonZeroU32 = NonZeroU32::new(32).expect("it is not 0");

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, outbox: Arc<Outbox>, entrance: NewConnection) -> Self {
        let NewConnection { source, address, parent } = entrance;
        let span = spans::connection(source, parent.as_ref());
        engine.traces.set_parent(&span, parent.as_ref());
        Session {
            span,
            frame_limiter: engine.limiter.frame_limiter(),
            uncharged_frames: 0,
            engine,
            outbox,
            connection: None,
            address,
            rate_limit_key: address.map(RateLimitKey::of_address),
            watches_rooms: false,
            expires: None,
            is_submitted: None,
            is_refused: false,
            connected: ConnectionMeter::new(source),
        }
    }

    /// Sets the session's user, registers the connection, and calls the hook `connect`.
    ///
    /// # Errors
    ///
    /// `TOO_MANY` if the user has too many connections; the refusal of the hook.
    pub(crate) async fn identify(&mut self, user: User) -> Result<(), Refusal> {
        let expires = user.expires().cloned();
        let rate_limit_key = RateLimitKey::of_user(&user, self.address);
        let connection = ConnectionHandle::new(Arc::clone(&self.outbox), user);
        if !self.span.is_disabled() {
            self.span
                .record("client_id", connection.client_id.as_str())
                .record("user_id", &*connection.user_id);
        }
        // Dropped, and so undone, if the client disconnects while the hook runs.
        let registration =
            self.engine.directory.register(&connection).inspect_err(|_| self.is_refused = true)?;
        if let Some(hooks) = &self.engine.hooks {
            hooks.connect(&connection.actor()).await.inspect_err(|_| self.is_refused = true)?;
        }
        registration.keep();
        self.connection = Some(connection);
        self.rate_limit_key = Some(rate_limit_key);
        self.expires = expires;
        Ok(())
    }

    /// Sends `connected`, the first frame of a WebSocket, with the ids of the connection and the user.
    pub(crate) fn send_connected(&self) {
        let Some(connection) = &self.connection else { return };
        let user = connection.user();
        let connected = frame::Connected {
            client_id: connection.client_id.as_str(),
            user_id: &connection.user_id,
            protocol: 1,
            schema: &self.engine.schema,
            anonymous_token: user.anonymous_token.as_deref(),
        };
        self.send("connected", None, connected);
    }

    /// Returns the span of the connection, the parent of the spans of its requests.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn is_identified(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns the remaining lifetime of the user's token; `None` if it never expires.
    pub(crate) fn token_remaining(&self) -> Option<Duration> {
        self.expires.as_ref().map(Expiry::remaining)
    }

    /// Returns the expiry of the user's token; `None` if it never expires.
    pub(crate) fn expires(&self) -> Option<&Expiry> {
        self.expires.as_ref()
    }

    /// Counts the connection as open, once its client knows that it is established.
    pub(crate) fn open(&mut self) {
        self.connected.open(self.engine.metrics.as_ref());
    }

    /// Records the reason for which the session is about to end.
    pub(crate) fn end(&mut self, ended: CloseReason) {
        self.connected.end(ended);
    }

    /// Handles one text frame. Every request with an `id` gets exactly one reply.
    pub(crate) async fn handle(&mut self, text: &str) -> FrameOutcome {
        self.is_submitted = None;
        // Boxed, so that an idle connection holds no memory for parsing a frame.
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
            Ok(()) => FrameOutcome::Continue,
            Err(refusal) => match (self.refuse(id, &refusal), refusal.code) {
                (FrameOutcome::RateLimited, _) => FrameOutcome::RateLimited,
                _ if self.connection.is_some() => FrameOutcome::Continue,
                _ if self.is_refused => FrameOutcome::Refused,
                // A client gets one attempt to authenticate.
                (_, Code::Unauthenticated) if request.is("auth") => FrameOutcome::Unauthenticated,
                _ => FrameOutcome::Continue,
            },
        }
    }

    /// Refuses a frame whose handling was cancelled because the node drains; nothing was stored. Sends no reply if the
    /// event may have been stored, because it was already handed to the room.
    pub(crate) fn abandon_frame(&mut self, text: &str) -> FrameOutcome {
        let is_submitted = self.is_submitted.take().is_some_and(|set| set.load(Ordering::Relaxed));
        let id = Request::parse(text, &self.engine.bounds).and_then(|request| request.id());
        match id {
            Ok(id) if !is_submitted => self.refuse(id, &draining()),
            _ => FrameOutcome::Continue,
        }
    }

    /// Refuses a malformed frame, which is counted as a request.
    pub(crate) async fn reject(&mut self, refusal: Refusal) -> FrameOutcome {
        let refusal = self.count().await.err().unwrap_or(refusal);
        self.refuse(None, &refusal)
    }

    /// Counts a frame and a request.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn count(&mut self) -> Result<(), Refusal> {
        self.frame_limiter.check_frame()?;
        self.uncharged_frames += 1;
        if self.uncharged_frames >= FRAMES_PER_CHARGE.get() {
            self.uncharged_frames = 0;
            let keys = self.rate_limit_key.iter();
            keys.for_each(|key| self.engine.limiter.charge_frames(key, FRAMES_PER_CHARGE));
        }
        match &self.rate_limit_key {
            Some(key) => self.engine.limiter.request(key).await,
            None => Ok(()),
        }
    }

    /// Sends the refusal of a request.
    pub(crate) fn refuse(&mut self, id: Option<&RawValue>, refusal: &Refusal) -> FrameOutcome {
        self.engine.refused(Source::WebSocket, refusal.code);
        self.send("error", id, frame::Error::from(refusal));
        match refusal.code == Code::RateLimited && self.frame_limiter.record_refusal() {
            true => FrameOutcome::RateLimited,
            false => FrameOutcome::Continue,
        }
    }

    /// Joins the connection to a room that is served over `channel`.
    ///
    /// # Errors
    ///
    /// The refusal; also `ROOM_NOT_FOUND` for a position in a room instance that was deleted.
    pub(crate) async fn join(
        &mut self,
        room_id: &str,
        channel: Channel,
        options: JoinOptions,
    ) -> Result<(), Refusal> {
        match self.join_unless_deleted(room_id, channel, options).await? {
            JoinOutcome::Joined => Ok(()),
            JoinOutcome::RoomDeleted => {
                Err(Refusal { message: DELETED_REASON.into(), ..crate::hub::not_found(room_id) })
            }
        }
    }

    /// Joins the connection to a room, unless the request resumes one that was deleted.
    pub(crate) async fn join_unless_deleted(
        &mut self,
        room_id: &str,
        channel: Channel,
        options: JoinOptions,
    ) -> Result<JoinOutcome, Refusal> {
        let engine = Arc::clone(&self.engine);
        let connection = Arc::clone(self.connection()?);
        let (room, _) = engine.room(room_id)?;
        if !room.channels.contains(&channel) {
            return Err(crate::hub::not_found(room_id));
        }
        if connection.room_count() >= engine.bounds.max_rooms_per_connection
            && connection.room(room_id).is_none()
        {
            let message =
                format!("a connection is in at most {} rooms", engine.bounds.max_rooms_per_connection);
            return Err(Refusal::new(Code::TooMany, message));
        }
        engine.may_join(&connection.actor(), room, room_id).await?;
        let maker = engine.maker(&connection.user_id, self.address);
        let mut has_freed_places = false;
        loop {
            let retired = connection.room(room_id).filter(|before| before.is_closed());
            if connection.is_migrating(room_id) {
                // The instance lost its log, and its members are moving to the next: joins that one once it has moved.
                let arrived = Box::pin(timeout(MOVE_TIMEOUT, connection.migration_ended(room_id))).await;
                arrived.map_err(|_| unavailable(room_id))?;
                continue;
            }
            if let Some(before) = retired {
                engine.after_leave(&connection, &before, DELETED_REASON).await;
            }
            if options.since.is_some() && room.keyed && engine.registry.was_deleted(room_id).await? {
                return Ok(JoinOutcome::RoomDeleted);
            }
            let instance = engine.registry.find_or_open(room, room_id, Some(&maker))?;
            let JoinOptions { filter: wanted, since, slot, id } = options.clone();
            let mut join = JoinRequest {
                handle: Arc::clone(&connection),
                slot,
                filter: wanted,
                since,
                stored_id: StoredId::NotRead,
                caught_up: false,
                migrated: false,
                id,
            };
            // Before the first await, so that a session that is dropped during the join leaves the room.
            let Some(new) = connection.enter(&instance) else { continue };
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
                    // The connection may leave while `joined` runs: then `end_joined_hook` returns the reason, and
                    // `left` is called here.
                    if let Some(hooks) = &engine.hooks
                        && new
                        && connection.begin_joined_hook(&instance)
                    {
                        hooks.joined(&connection.actor(), instance.room_ref()).await;
                        if let Some(reason) = connection.end_joined_hook(&instance) {
                            hooks.left(&connection.actor(), instance.room_ref(), &reason).await;
                        }
                    }
                    return Ok(JoinOutcome::Joined);
                }
                Some(Err(JoinError::Refused(refusal))) => {
                    // A connection that was already in the instance stays a member.
                    if new {
                        connection.exit(&instance, "refused");
                    }
                    let full = refusal.code == Code::RoomFull;
                    if full && !std::mem::replace(&mut has_freed_places, true) {
                        // Boxed, since it is rare and large.
                        if Box::pin(engine.reclaim_capacity(&instance, &connection)).await {
                            continue;
                        }
                    }
                    return Err(refusal);
                }
                // The instance has just ended: the next attempt creates another.
                Some(Err(JoinError::Closed | JoinError::NeedsStoredId(_) | JoinError::NeedsCatchUp))
                | None => {
                    if connection.is_migrating(room_id) {
                        continue;
                    }
                    engine.after_leave(&connection, &instance, DELETED_REASON).await;
                    if let Some(refusal) = instance.failure() {
                        return Err(refusal);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Returns a future that waits until the events that were published to the connection's rooms before are in its
    /// outbox.
    pub(crate) fn caught_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move {
            for room in connection.map(|connection| connection.rooms()).unwrap_or_default() {
                room.run(|_| ()).await;
            }
        }
    }

    /// Sends `left` for a room of an event stream that was deleted before the stream resumed.
    pub(crate) fn send_room_deleted(&self, room_id: &str) {
        self.send("left", None, frame::Left { room_id, reason: Some(DELETED_REASON) });
    }

    /// Returns a future that waits until the connection is in no room.
    pub(crate) fn left_all(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move {
            if let Some(connection) = connection {
                connection.all_rooms_left().await;
            }
        }
    }

    async fn answer(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let kind = request.kind()?;
        if self.connection.is_none() && kind != "auth" {
            return Err(Refusal::new(Code::Unauthenticated, "show a token first: `auth`"));
        }
        match &*kind {
            "trigger" => self.trigger(request, id).await,
            // Boxed, so that an idle connection holds no memory for these.
            kind => Box::pin(self.answer_other(kind, request, id)).await,
        }
    }

    async fn answer_other(
        &mut self,
        kind: &str,
        request: &Request<'_>,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        match kind {
            "join" => {
                let room_id = request.room_id()?;
                let (room, _) = self.engine.room(&room_id)?;
                let options = JoinOptions {
                    filter: events(room, request)?,
                    since: request.since()?,
                    slot: StreamSlot::default(),
                    id: id.map(RawValue::to_owned),
                };
                return self.join(&room_id, Channel::WebSocket, options).await;
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
                let actor = self.connection()?.actor();
                push::apply(&self.engine, &actor, self.rate_limit_key.as_ref(), change, wanted).await?;
                self.send_ok(id);
            }
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(invalid(format!("`type`: there is no frame `{shown}`")));
            }
        }
        Ok(())
    }

    /// Authenticates the connection by a token, or renews it by a newer token of the same user.
    async fn auth(&mut self, token: &str, id: Option<&RawValue>) -> Result<(), Refusal> {
        let headers = http::HeaderMap::new();
        let credentials = Credentials { token: Some(token), headers: &headers, peer: None };
        let user = self.engine.identity.authenticate(credentials).await?;
        let user = user.ok_or_else(|| Refusal::new(Code::Unauthenticated, "the token is not valid"))?;
        match &self.connection {
            Some(connection) if connection.user_id == user.id => {
                self.expires = user.expires().cloned();
                connection.renew(user);
                self.engine.leave_forbidden_rooms(connection).await;
            }
            Some(_) => return Err(Refusal::new(Code::PermissionDenied, "the token is another user's")),
            None => {
                self.identify(user).await?;
                self.send_connected();
            }
        }
        self.send_ok(id);
        Ok(())
    }

    async fn trigger(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let room = &instance.room;
        let name = request.event()?;
        let event = room.event(&name).ok_or_else(|| room.not_carried(&name))?;
        let parent = Some(&self.span);
        let span = spans::trigger(parent, Source::WebSocket, room.name, &instance.id, room.event_name(event));
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
        event: EventIndex,
        origin: EventOrigin,
        request: &Request<'_>,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        let connection = Arc::clone(self.connection()?);
        let room = &instance.room;
        if room.kind(event).is_none_or(|kind| kind.sender == Sender::Server) {
            let message = format!("`{}` is sent by the server only", room.event_name(event));
            return Err(Refusal::new(Code::EventNotAllowed, message));
        }
        let (data, key, meta) = (request.data()?, request.key()?, request.meta()?);
        let meta = self.engine.traces.inject(&origin.span, meta);
        if let Some(key) = &self.rate_limit_key {
            self.engine.limiter.event(key, room.index).await?;
        }
        let ingest =
            room.index.entry_of(&self.engine.any_rooms).ok_or_else(|| crate::hub::not_found(&instance.id))?;
        if self.engine.hooks.is_none() && !self.engine.pushes(room) {
            // Before the event is encoded, so that nothing is held while this waits.
            if instance.wait_for_inbox().await? && connection.room(&instance.id).is_none() {
                return Err(not_in_room());
            }
            if let Some(encoded) = ingest.encode_without_middleware(event, data) {
                // Does not wait for the append: the room sends the `ok`, and the next frame is handled in the meantime.
                let EncodedEvent { data, conflation_key: conflated } = encoded?;
                let reply = PublishReply::Frame(Arc::clone(&self.outbox), id.map(|id| id.get().into()));
                let from = Arc::clone(&connection.user_id);
                let (server, event_id, sender_outbox) = (false, None, None);
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
                    sender_outbox,
                    reply,
                };
                return instance.push(RoomCommand::Publish(publish)).map_err(|_| busy(&instance.id));
            }
        }
        let trigger = Box::new(Trigger {
            registry: Arc::clone(&self.engine.registry),
            room: Arc::clone(room),
            room_id: Arc::clone(&instance.id),
            event,
            from: Arc::clone(&connection.user_id),
            user: Some(connection.user()),
            rate_limit_key: self.rate_limit_key.clone(),
            limiter: Arc::clone(&self.engine.limiter),
            is_server: false,
            maker: Some(self.engine.maker(&connection.user_id, self.address)),
            meta,
            idempotency_key: key,
            // Also for an anonymous user: a WebSocket has received the token of its id, and can keep the id.
            key_scope: KeyScope::User,
            origin,
            recipient: None,
            recipient_count: None,
            push: self.engine.push.clone(),
            connection: Some(Arc::clone(&connection)),
            is_submitted: Arc::default(),
        });
        let span = trigger.origin.span.clone();
        self.is_submitted = Some(Arc::clone(&trigger.is_submitted));
        let accepted =
            self.engine.trigger(connection.actor(), ingest, data, trigger).instrument(span).await?;
        if let Some(id) = id {
            self.outbox.send("ok", &frame::accepted(id.get(), &accepted));
        }
        Ok(())
    }

    async fn leave(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let room_id = request.room_id()?;
        let connection = Arc::clone(self.connection()?);
        let mut instance = match self.joined(&room_id) {
            Err(refusal) if refusal.code == Code::Unavailable => connection.room(&room_id).ok_or(refusal)?,
            joined => joined?,
        };
        // Awaited, so that the reply comes after the last event.
        if let Some(was_in) = connection.remove_from(&instance, None).await {
            instance = was_in;
        }
        self.send("left", id, frame::Left { room_id: &instance.id, reason: None });
        self.engine.after_leave(&connection, &instance, "left").await;
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
        let connection_id = self.outbox.id();
        match instance.run(move |state| state.subscribe(connection_id, |wanted| change(wanted, named))).await
        {
            Some(true) => self.send_ok(id),
            _ if self.connection()?.is_migrating(&instance.id) => return Err(unavailable(&instance.id)),
            // The member was removed just now.
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
        let (before, limit) = (request.before()?, request.limit(HISTORY_LIMITS)?);
        let limit = limit.min(self.engine.bounds.max_history_events);
        let page = instance.history(before, wanted, limit).await?;
        self.outbox.send("history", &history(&instance.id, &page, id));
        Ok(())
    }

    async fn members(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = self.joined(&request.room_id()?)?;
        let after = request.after()?.map(String::from);
        let limit = request.limit(MEMBER_LIMITS)?;
        let own_id = id.map(RawValue::to_owned);
        let list =
            instance.run(move |state| state.members_frame(after.as_deref(), limit, own_id.as_deref())).await;
        self.outbox.send("members", &list.ok_or_else(|| busy(&instance.id))?);
        Ok(())
    }

    async fn list_rooms(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let (after, limit) = (request.after()?, request.limit(ROOM_LIST_LIMITS)?);
        let connection = self.connection()?;
        if request.watch()? && !self.watches_rooms {
            self.engine.watch(connection);
            // Before the await, so that a session that is dropped meanwhile stops watching.
            self.watches_rooms = true;
        }
        let connection = self.connection()?;
        let actor = connection.actor();
        let rooms = self.engine.list(Some(&actor), after.as_deref(), limit).await?;
        self.send("rooms", id, rooms);
        Ok(())
    }

    /// Marks the current request as submitted: if its frame is abandoned, the request may still be carried out.
    fn mark_submitted(&mut self) {
        self.is_submitted = Some(Arc::new(AtomicBool::new(true)));
    }

    async fn create_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = self.connection()?.actor();
        self.mark_submitted();
        CreateRoom::read(request)?.execute(&self.engine, Requester::User(&actor, self.address)).await?;
        self.send_ok(id);
        Ok(())
    }

    async fn delete_room(&mut self, request: &Request<'_>, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = self.connection()?.actor();
        self.mark_submitted();
        room_lifecycle::delete(&self.engine, &request.room_id()?, Requester::User(&actor, self.address))
            .await?;
        self.send_ok(id);
        Ok(())
    }

    fn connection(&self) -> Result<&Arc<ConnectionHandle>, Refusal> {
        self.connection
            .as_ref()
            .ok_or_else(|| Refusal::new(Code::Unauthenticated, "show a token first: `auth`"))
    }

    /// Returns a room instance that the connection is in.
    ///
    /// # Errors
    ///
    /// `NOT_IN_ROOM`; `ROOM_NOT_FOUND` for an id of no declared room; `UNAVAILABLE` while the members of an instance
    /// that lost its log move to the next.
    fn joined(&self, room_id: &str) -> Result<Arc<LiveRoom>, Refusal> {
        let connection = self.connection()?;
        match connection.room(room_id) {
            Some(instance) if !instance.is_closed() => return Ok(instance),
            // The instance lost its log, and its members are moving to the next.
            Some(instance) if !instance.is_deleted() => return Err(unavailable(room_id)),
            // The instance was deleted, and its members are being notified.
            Some(_) => {}
            None => drop(self.engine.room(room_id)?),
        }
        Err(not_in_room())
    }

    /// Sends the `ok` of a request without a result.
    fn send_ok(&self, id: Option<&RawValue>) {
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
        let Some(connection) = self.connection.take() else { return };
        let connection_id = connection.id();
        connection.close();
        connection.rooms().iter().for_each(|instance| self.engine.note_push_departure(&connection, instance));
        if self.watches_rooms {
            self.engine.unwatch(connection_id);
        }
        self.engine.directory.unregister(&connection);
        let Some(hooks) = self.engine.hooks.clone() else {
            connection.rooms().iter().for_each(|instance| instance.release(&connection));
            return;
        };
        // Hooks are asynchronous, so they run on a task.
        let reason = self.connected.reason();
        // Counted, so that a drain waits for the hooks: the process may end after it.
        let counted = self.engine.drain_guard();
        self.engine.registry.spawn(async move {
            let actor = connection.actor();
            for instance in connection.rooms() {
                // Also if the instance has ended.
                connection.remove_from(&instance, None).await;
                if connection.exit_closed(&instance) {
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
