//! Middleware: composed by `rooms!` at compile time, without boxes.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    Served,
    limits::{Limiter, Subject},
};
use crate::{
    Event, Room,
    identity::{Shared, User},
    wire::{Accepted, Refusal},
};

/// What became of an event: accepted by the room's log, or refused.
pub type Flow = Result<Accepted, Refusal>;

/// Stands in front of event `E` in room `R`.
///
/// It may look, change the event, answer in its stead with a [`Refusal`], or act once the event was accepted.
///
/// ```
/// use dialogue::{Cx, Event, Flow, Middleware, Next, Refusal, Room};
///
/// /// Nobody shouts.
/// #[derive(Default)]
/// pub struct Quiet;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// impl<R: Room> Middleware<R, Message> for Quiet {
///     async fn handle(&self, cx: &Cx<R>, event: Message, next: impl Next<R, Message>) -> Flow {
///         if event.text.ends_with('!') {
///             return Err(Refusal::blocked("no shouting"));
///         }
///         next.run(cx, event).await
///     }
/// }
///
/// dialogue::rooms! { library: [Message] via [websocket] with [Quiet] }
/// # fn main() {}
/// ```
///
/// For every event of every room, it is generic over both, as in `impl<R: Room, E: Event> Middleware<R, E> for …`. What it
/// is made of is said under [`FromState`](crate::FromState); the same may be written as a function or a closure, see
/// [`rooms!`](crate::rooms).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not middleware for `{E}` in room `{R}`",
    label = "cannot stand in front of `{E}`",
    note = "implement `Middleware<{R}, {E}>` for `{Self}`, or list it after the one event it is for: `{E} with [{Self}]`"
)]
pub trait Middleware<R: Room, E: Event>: Send + Sync + 'static {
    /// Handles one event; `next` is the rest of the way into the log.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that the sender is told; nothing is stored then.
    ///
    /// # Cancel safety
    ///
    /// Until the event is with the room's log, the future is dropped when its sender gives up (an HTTP request is
    /// broken off, the future of a trigger in server code is dropped) and when the connection that sent it is cut, by
    /// the application or as its token expires; nothing is stored then. After that, it belongs to the event: what comes
    /// behind `next.run()` runs on a task of its own if the sender is gone, for at most a minute.
    fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> impl Future<Output = Flow> + Send;
}

/// The rest of a chain.
pub trait Next<R: Room, E>: Send {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// What a later middleware, or the log, refused it with.
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send;
}

/// Who sends an event, and where to.
pub struct Cx<R: Room> {
    pub(crate) key: R::Key,
    pub(crate) room_id: Arc<str>,
    pub(crate) from: Arc<str>,
    pub(crate) user: Option<User>,
    /// What the room asks for.
    pub(crate) identity: Option<Shared>,
    pub(crate) server: bool,
    /// Whom limits count, if anybody.
    pub(crate) subject: Option<Subject>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) idempotency_key: Option<Box<str>>,
    /// The event is with the log, so that what becomes of it is no longer for middleware to say.
    pub(crate) at_log: Arc<AtomicBool>,
}

impl<R: Room> Cx<R> {
    /// The key of the room's instance.
    pub fn key(&self) -> &R::Key {
        &self.key
    }

    /// The id of the room's instance, as on the wire.
    pub fn room_id(&self) -> &str {
        &self.room_id
    }

    /// The user that sends it.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// What the authenticator told of the user, as `T`; `None` of an anonymous one, of server code, and where `T` is not the
    /// authenticator's identity.
    pub fn caller<T: Send + Sync + 'static>(&self) -> Option<Caller<T>> {
        let identity = Arc::clone(&self.user.as_ref()?.known.as_ref()?.identity);
        identity.downcast().ok().map(Caller)
    }

    /// The identity that the room requires: `#[room(identity = Member)]`. `None` of server code only, for every user in
    /// such a room has one; in other rooms see [`caller`](Self::caller).
    pub fn identity(&self) -> Option<&R::Identity>
    where
        R: Served,
    {
        self.identity.as_ref()?.downcast_ref()
    }

    /// Whether the user has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.user.as_ref().is_some_and(|user| user.has_role(role))
    }

    /// What makes a retry harmless: the trigger's `key`, or its `Idempotency-Key`.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Whether server code sends it, or the application's own backend with a server key.
    pub fn is_server(&self) -> bool {
        self.server
    }
}

impl<R: Room> fmt::Debug for Cx<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("room_id", &self.room_id).field("from", &self.from).finish_non_exhaustive()
    }
}

/// The typed identity of whoever sends an event.
#[derive(Debug, Clone)]
pub struct Caller<T>(Arc<T>);

impl<T> std::ops::Deref for Caller<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A chain: `()`, or `(&first, rest)`.
pub trait Chain<R: Room, E>: Send + Sync {
    /// Nothing stands in front of the log, so that it can be called directly.
    const EMPTY: bool;

    /// Runs the chain and then `end`.
    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send
    where
        E: Event;
}

impl<R: Room, E> Chain<R, E> for () {
    const EMPTY: bool = true;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send
    where
        E: Event,
    {
        end.run(cx, event)
    }
}

impl<R: Room, E: Event, M: Middleware<R, E>, T: Chain<R, E>> Chain<R, E> for (&M, T) {
    const EMPTY: bool = false;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send {
        self.0.handle(cx, event, Then { rest: &self.1, end })
    }
}

/// Middleware of a server, around what it had before: `()`, or one of these.
#[derive(Debug)]
pub struct Around<L, M>(pub(crate) L, pub(crate) M);

impl<R: Room, E: Event, L: Chain<R, E>, M: Middleware<R, E>> Chain<R, E> for Around<L, M> {
    const EMPTY: bool = false;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send {
        self.0.run(cx, event, Last { middleware: &self.1, end })
    }
}

struct Last<'a, M, N> {
    middleware: &'a M,
    end: N,
}

impl<R: Room, E: Event, M: Middleware<R, E>, N: Next<R, E>> Next<R, E> for Last<'_, M, N> {
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send {
        self.middleware.handle(cx, event, self.end)
    }
}

pub(super) struct Then<'a, T, N> {
    pub(super) rest: &'a T,
    pub(super) end: N,
}

impl<R: Room, E: Event, T: Chain<R, E>, N: Next<R, E>> Next<R, E> for Then<'_, T, N> {
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send {
        self.rest.run(cx, event, self.end)
    }
}
