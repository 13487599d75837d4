//! A request to put an event into a room, as the entries create it.

use std::{
    any::Any,
    borrow::Cow,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use crate::{
    Code, Refusal, event,
    hooks::UntypedCaller,
    identity::{SERVER_SENDER, User, expired},
    limits::{ConnectionLimiter, Limiter, RateLimitKey},
    live::{ConnectionHandle, LiveRoom, Opener, PublishReply, RoomSpec, not_in_room, revoked},
    middleware::EventContext,
    observe::{EventOrigin, record_refusal},
    store::KeyScope,
    wire::EventIndex,
};

/// A request to put an event into a room.
pub(crate) struct Trigger<'a> {
    pub(crate) room: &'a Arc<RoomSpec>,
    pub(crate) room_id: &'a Arc<str>,
    /// The index of the event in [`Room::EVENTS`](crate::Room::EVENTS).
    pub(crate) event: EventIndex,
    pub(crate) sender: TriggerSender<'a>,
    /// The request's fields, or the refusal of an invalid one. The refusals of the membership and of the sender take
    /// precedence over it.
    pub(crate) fields: Result<TriggerFields<'a>, Box<Refusal>>,
    pub(crate) origin: EventOrigin,
    /// Receives the outcome; set by [`trigger`](super::Ingest::trigger) for a caller that waits.
    pub(crate) reply: PublishReply,
}

/// The fields of a trigger, which its entry has checked.
pub(crate) struct TriggerFields<'a> {
    pub(crate) payload: Payload<'a>,
    /// The idempotency key.
    pub(crate) key: Option<Box<str>>,
    /// The sender's metadata, as compact JSON.
    pub(crate) meta: Option<Box<str>>,
}

/// An event's payload before it is validated.
pub(crate) enum Payload<'a> {
    Json(Cow<'a, str>),
    /// The event of server code, which is decoded already.
    Typed(Box<dyn Any + Send>),
}

/// The sender of a trigger.
pub(crate) enum TriggerSender<'a> {
    /// A connection, which is in the room instance.
    Member {
        connection: &'a Arc<ConnectionHandle>,
        instance: &'a Arc<LiveRoom>,
        /// The key that rate limits count by.
        rate_limit_key: Option<&'a RateLimitKey>,
        /// The client's address, if it is known.
        address: Option<IpAddr>,
        /// Set once the event is handed to the room, if it passes hooks, middleware or the offer to push before.
        is_submitted: &'a Arc<AtomicBool>,
    },
    /// The user of an HTTP request.
    User { user: &'a User, rate_limit_key: Option<&'a RateLimitKey>, address: Option<IpAddr> },
    /// The application's backend with a server key, under the name that it chose.
    Backend { name: Arc<str> },
    /// Server code; with a recipient, the event goes to this user's connections only, and is not logged.
    Server { recipient: Option<&'a Arc<str>> },
}

impl Trigger<'_> {
    /// Counts the event as refused, and records that in its span.
    pub(super) fn note_refusal(&self, refusal: &Refusal) {
        self.room.meter.refused(self.origin.source, refusal);
        record_refusal(&self.origin.span, refusal);
    }
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Payload::Json(Cow::Borrowed(""))
    }
}

impl Payload<'_> {
    pub(super) fn into_owned(self) -> Payload<'static> {
        match self {
            Payload::Json(json) => Payload::Json(Cow::Owned(json.into_owned())),
            Payload::Typed(event) => Payload::Typed(event),
        }
    }
}

impl TriggerSender<'_> {
    /// Returns whether it is server code or the application's backend, which may send all events.
    pub(super) fn is_server(&self) -> bool {
        matches!(self, TriggerSender::Backend { .. } | TriggerSender::Server { .. })
    }

    /// Refuses an event that only the server sends.
    pub(super) fn check_event(&self, room: &RoomSpec, event: EventIndex) -> Result<(), Refusal> {
        match room.kind(event) {
            Some(kind) if self.is_server() || kind.sender != event::Sender::Server => Ok(()),
            _ => {
                let message = format!("`{}` is sent by the server only", room.event_name(event));
                Err(Refusal::new(Code::EventNotAllowed, message))
            }
        }
    }

    /// Refuses a sender who was allowed to send into the room, and no longer is: the token expired, or the connection
    /// left or was closed, while the event waited.
    pub(super) fn check_again(&self, room_id: &str) -> Result<(), Refusal> {
        let user = match self {
            TriggerSender::User { user, .. } => Some(*user),
            _ => None,
        };
        check_sender(self.connection(), user, room_id)
    }

    /// Returns the room instance that a connection is in.
    pub(super) fn instance(&self) -> Option<&Arc<LiveRoom>> {
        match self {
            TriggerSender::Member { instance, .. } => Some(instance),
            _ => None,
        }
    }

    /// Returns the connection that sent the event, if one did.
    pub(super) fn connection(&self) -> Option<&Arc<ConnectionHandle>> {
        match self {
            TriggerSender::Member { connection, .. } => Some(connection),
            _ => None,
        }
    }

    /// Returns the one user that the event is for.
    pub(super) fn recipient(&self) -> Option<&Arc<str>> {
        match self {
            TriggerSender::Server { recipient } => *recipient,
            _ => None,
        }
    }

    /// Returns the sender's user; `None` for the application itself.
    pub(super) fn user(&self) -> Option<User> {
        match self {
            TriggerSender::Member { connection, .. } => Some(connection.user()),
            TriggerSender::User { user, .. } => Some((*user).clone()),
            TriggerSender::Backend { .. } | TriggerSender::Server { .. } => None,
        }
    }

    /// Returns the id that subscribers see.
    pub(super) fn id(&self) -> Arc<str> {
        match self {
            TriggerSender::Member { connection, .. } => Arc::clone(&connection.user_id),
            TriggerSender::User { user, .. } => Arc::clone(&user.id),
            TriggerSender::Backend { name } => Arc::clone(name),
            TriggerSender::Server { .. } => SERVER_SENDER.into(),
        }
    }

    /// Returns the sender as the application's hooks see it; `None` for the application itself.
    pub(super) fn caller(&self) -> Option<UntypedCaller> {
        match self {
            TriggerSender::Member { connection, .. } => Some(connection.actor()),
            _ => Some(UntypedCaller { user: self.user()?, client_id: None }),
        }
    }

    /// Returns the key that rate limits count by; `None` if they don't apply.
    pub(super) fn rate_limit_key(&self) -> Option<&RateLimitKey> {
        match self {
            TriggerSender::Member { rate_limit_key, .. } | TriggerSender::User { rate_limit_key, .. } => {
                *rate_limit_key
            }
            TriggerSender::Backend { .. } | TriggerSender::Server { .. } => None,
        }
    }

    /// Returns the scope of its idempotency keys.
    pub(super) fn key_scope(&self) -> KeyScope {
        match self {
            // Also for an anonymous user: a WebSocket has received the token of its id, and can keep the id.
            TriggerSender::Member { .. } => KeyScope::User,
            TriggerSender::User { user, .. } if user.is_new => KeyScope::Unauthenticated,
            TriggerSender::User { .. } => KeyScope::User,
            TriggerSender::Backend { .. } | TriggerSender::Server { .. } => KeyScope::Server,
        }
    }

    /// Returns the context of an event for middleware.
    pub(super) fn context(
        &self,
        room_id: &Arc<str>,
        key: Option<Box<str>>,
        limiter: &Arc<Limiter>,
    ) -> Arc<EventContext> {
        Arc::new(EventContext {
            room_id: Arc::clone(room_id),
            from: self.id(),
            user: self.user(),
            is_server: self.is_server(),
            rate_limit_key: self.rate_limit_key().cloned(),
            limiter: Arc::clone(limiter),
            idempotency_key: key,
            is_submitted: match self {
                TriggerSender::Member { is_submitted, .. } => Arc::clone(is_submitted),
                _ => Arc::default(),
            },
            recipients: AtomicUsize::new(0),
        })
    }

    /// Returns the client that is charged for the room instance if the event opens it; `None` for the application.
    pub(super) fn opener(&self, connections: &ConnectionLimiter) -> Option<Opener> {
        let (user, address) = match self {
            TriggerSender::Member { connection, address, .. } => (&connection.user_id, *address),
            TriggerSender::User { user, address, .. } => (&user.id, *address),
            TriggerSender::Backend { .. } | TriggerSender::Server { .. } => return None,
        };
        Some(Opener::new(user, address, connections))
    }
}

/// Refuses an event of a connection that is closed, whose token expired, or that is no longer in the room; or of a
/// request whose user's token expired.
pub(super) fn check_sender(
    connection: Option<&Arc<ConnectionHandle>>,
    user: Option<&User>,
    room_id: &str,
) -> Result<(), Refusal> {
    match (connection, user) {
        (Some(connection), _) if connection.outbox.is_revoked() => Err(revoked()),
        (Some(connection), _) if connection.is_expired() => Err(expired()),
        (Some(connection), _) if connection.room(room_id).is_none() => Err(not_in_room()),
        (None, Some(user)) if user.is_expired() => Err(expired()),
        _ => Ok(()),
    }
}
