//! The context of an event in middleware: its sender and its room.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use crate::{
    Room,
    identity::{AnyIdentity, IdentityRef, User},
    limits::{Limiter, RateLimitKey},
    room::ServerRoom,
};

/// The context of an event in middleware: its sender and its room.
pub struct Cx<R: Room> {
    pub(crate) key: R::Key,
    /// The identity that the room requires, as [`ServerRoom::Identity`].
    pub(crate) identity: Option<AnyIdentity>,
    pub(crate) event: Arc<EventContext>,
}

/// The part of a context that doesn't depend on the room's type, which ingest shares with it.
pub(crate) struct EventContext {
    pub(crate) room_id: Arc<str>,
    pub(crate) from: Arc<str>,
    /// `None` for server code and for the application's backend.
    pub(crate) user: Option<User>,
    /// Set for server code and for the application's backend.
    pub(crate) is_server: bool,
    /// The key that rate limits count by; `None` if they don't apply.
    pub(crate) rate_limit_key: Option<RateLimitKey>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) idempotency_key: Option<Box<str>>,
    /// Set once the event is handed to the room, after which middleware can no longer cancel it.
    pub(crate) is_submitted: Arc<AtomicBool>,
    /// The number of subscriptions that the event was handed to, once that is known.
    pub(crate) recipients: AtomicUsize,
}

impl<R: Room> Cx<R> {
    /// Returns the key of the room instance.
    pub fn key(&self) -> &R::Key {
        &self.key
    }

    /// Returns the id of the room instance, as on the wire: `chat`, `project:42`.
    pub fn room_id(&self) -> &str {
        &self.event.room_id
    }

    /// Returns the id of the user that sends the event; `system` for server code, and the name that a backend chose.
    pub fn from(&self) -> &str {
        &self.event.from
    }

    /// Returns the user's identity as the authenticator returned it, if it is a `T`. `None` for an anonymous user, for
    /// server code, and if the authenticator's identity is another type.
    pub fn identity_as<T: Send + Sync + 'static>(&self) -> Option<IdentityRef<T>> {
        let identity = Arc::clone(&self.event.user.as_ref()?.authenticated.as_ref()?.identity);
        identity.downcast().ok().map(IdentityRef::new)
    }

    /// Returns the identity that the room requires: `#[room(identity = Member)]`. `None` for server code only, since
    /// every user in such a room has one. In a room that requires none, see [`identity_as`](Self::identity_as).
    pub fn identity(&self) -> Option<&R::Identity>
    where
        R: ServerRoom,
    {
        self.identity.as_ref()?.downcast_ref()
    }

    /// Returns whether the user has the role; `false` for server code.
    pub fn has_role(&self, role: &str) -> bool {
        self.event.user.as_ref().is_some_and(|user| user.has_role(role))
    }

    /// Returns the idempotency key, by which the room recognises a retry: the trigger's `key`, or the header
    /// `Idempotency-Key`.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.event.idempotency_key.as_deref()
    }

    /// Returns whether the sender is server code, or the application's backend with a server key.
    pub fn is_server(&self) -> bool {
        self.event.is_server
    }
}

impl<R: Room> fmt::Debug for Cx<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("room_id", &self.event.room_id)
            .field("from", &self.event.from)
            .finish_non_exhaustive()
    }
}
