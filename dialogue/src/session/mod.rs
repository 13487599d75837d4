//! The session: the protocol state machine of one connection (PROTOCOL.md, "Frames from client to
//! server").
//!
//! A [`Session`] handles the frames of a WebSocket, and the joins of an event stream. It identifies the user, enforces
//! rate limits, and carries out one request at a time. It does no I/O: `channel` reads the frames, and replies go to
//! the connection's [`Outbox`].

mod frames;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod lost_log_tests;
#[cfg(test)]
mod members_tests;
mod requests;
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
use tracing::Span;

pub(crate) use requests::{
    Fields, HISTORY_LIMITS, PushChange, ROOM_LIST_LIMITS, Requester, change_push, check_depth,
    check_event_count, create_room, delete_room, invalid,
};

use crate::{
    Code, Refusal,
    engine::Engine,
    identity::{Expiry, User},
    limits::{FrameLimiter, RateLimitKey},
    live::{
        ConnectionHandle, DELETED_REASON, JoinOptions, JoinOutcome, JoinRequest, LiveRoom, Opener, Outbox,
        not_in_room, unavailable,
    },
    observe::{CloseReason, ConnectionMeter, Source, TraceParent, spans},
    room::Channel,
    wire::frame::{self, ServerFrame},
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
    /// Set once the request of the current frame may have been carried out.
    is_submitted: Arc<AtomicBool>,
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

/// The number of frames that are charged to the user's HTTP limit at once: charging each one would cost as much as the
/// frame limit itself.
const FRAMES_PER_CHARGE: NonZeroU32 = NonZeroU32::new(32).expect("it is not 0");

impl Session {
    pub(crate) fn new(engine: Arc<Engine>, outbox: Arc<Outbox>, entrance: NewConnection) -> Self {
        let NewConnection { source, address, parent } = entrance;
        let span = spans::connection(source, parent.as_ref());
        engine.observed.traces.set_parent(&span, parent.as_ref());
        Session {
            span,
            frame_limiter: engine.admission.limiter.frame_limiter(),
            uncharged_frames: 0,
            engine,
            outbox,
            connection: None,
            address,
            rate_limit_key: address.map(RateLimitKey::of_address),
            watches_rooms: false,
            expires: None,
            is_submitted: Arc::default(),
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
        let rate_limit_key = RateLimitKey::of_user(&user.id, self.address);
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
            client_id: connection.client_id.as_str().into(),
            user_id: (&*connection.user_id).into(),
            protocol: 1,
            schema: Some((&*self.engine.schema).into()),
            anonymous_token: user.anonymous_token.as_deref().map(Into::into),
        };
        self.send(None, &connected);
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
        self.connected.open(self.engine.observed.metrics.as_ref());
    }

    /// Records the reason for which the session is about to end.
    pub(crate) fn end(&mut self, ended: CloseReason) {
        self.connected.end(ended);
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
            keys.for_each(|key| self.engine.admission.limiter.charge_frames(key, FRAMES_PER_CHARGE));
        }
        match &self.rate_limit_key {
            Some(key) => self.engine.admission.limiter.request(key).await,
            None => Ok(()),
        }
    }

    /// Sends the refusal of a request.
    pub(crate) fn refuse(&mut self, id: Option<&RawValue>, refusal: &Refusal) -> FrameOutcome {
        self.engine.refused(Source::WebSocket, refusal.code);
        self.send(id, &frame::Error::from(refusal));
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
            JoinOutcome::Joined { .. } => Ok(()),
            JoinOutcome::RoomDeleted => Err(Refusal::new(Code::RoomNotFound, DELETED_REASON)),
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
        let room = engine.room(room_id)?;
        if !room.channels.contains(&channel) {
            return Err(crate::live::not_found(room_id));
        }
        if connection.room_count() >= engine.bounds.connections.max_rooms_per_connection
            && connection.room(room_id).is_none()
        {
            let message = format!(
                "a connection is in at most {} rooms",
                engine.bounds.connections.max_rooms_per_connection
            );
            return Err(Refusal::new(Code::TooMany, message));
        }
        engine.admission.access.may_join(&connection.actor(), room, room_id).await?;
        let opener = Opener::new(&connection.user_id, self.address, &engine.admission.connection_limiter);
        let join = JoinRequest { handle: Arc::clone(&connection), options, is_migrating: false };
        let outcome = engine.registry.join(room, room_id, join, &opener).await?;
        if let JoinOutcome::Joined { instance, is_new: true } = &outcome {
            engine.after_join(&connection, instance).await;
        }
        Ok(outcome)
    }

    /// Returns a future that waits until the events that were published to the connection's rooms before are in its
    /// outbox.
    pub(crate) fn caught_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let connection = self.connection.clone();
        async move {
            for room in connection.map(|connection| connection.rooms()).unwrap_or_default() {
                room.barrier().await;
            }
        }
    }

    /// Sends `left` for a room of an event stream that was deleted before the stream resumed.
    pub(crate) fn send_room_deleted(&self, room_id: &str) {
        self.send(None, &frame::Left { room_id: room_id.into(), reason: Some(DELETED_REASON.into()) });
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

    /// Marks the current request as submitted: if its frame is abandoned, the request may still be carried out.
    fn mark_submitted(&mut self) {
        self.is_submitted.store(true, Ordering::Relaxed);
    }

    fn connection(&self) -> Result<&Arc<ConnectionHandle>, Refusal> {
        self.connection.as_ref().ok_or_else(unidentified)
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
    fn send_done(&self, id: Option<&RawValue>) {
        if id.is_some() {
            self.send(id, &frame::Done {});
        }
    }

    fn send<F: ServerFrame>(&self, id: Option<&RawValue>, frame: &F) {
        self.outbox.send(&frame.encode(id));
    }
}

/// Returns the refusal of a request before the user is identified.
fn unidentified() -> Refusal {
    Refusal::new(Code::Unauthenticated, "show a token first: `auth`")
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
        let counted = self.engine.drain.guard();
        self.engine.registry.spawn(async move {
            let actor = connection.actor();
            for instance in connection.rooms() {
                // Also if the instance has ended.
                connection.remove_from(&instance, None).await;
                if connection.exit_closed(&*instance) {
                    hooks.left(&actor, instance.room_ref(), reason).await;
                }
            }
            hooks.disconnect(&actor, reason).await;
            drop(counted);
        });
    }
}
