//! Middleware, and its composition to a stack at compile time, without boxes.
//!
//! A stack is a nested tuple, `(&first, (&second, ()))`, that `rooms!` builds for each event: the room's middleware,
//! then the event's. The server's own middleware, [`Layered`], runs before it. The shape is that of tower's `Service`
//! and `Layer` with one call instead of two.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    Event, Room,
    identity::{AnyIdentity, IdentityRef, User},
    limits::{Limiter, RateLimitKey},
    room::ServerRoom,
    wire::{Accepted, Refusal},
};

/// The outcome of an event: accepted by the room, or refused.
pub type Flow = Result<Accepted, Refusal>;

/// Code that runs for event `E` of room `R` before the event is appended to the room's log.
///
/// It can inspect or change the event, refuse it with a [`Refusal`], or act after the event was accepted.
///
/// ```
/// use dialogue::{Cx, Event, Flow, Middleware, Next, Refusal, Room};
///
/// /// Refuses events that shout.
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
/// Middleware for every event of every room is generic over both: `impl<R: Room, E: Event> Middleware<R, E> for …`.
/// [`FromState`](crate::middleware::FromState) describes how a middleware value is constructed;
/// [`rooms!`](crate::rooms) describes middleware that is a function or a closure.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not middleware for `{E}` in room `{R}`",
    label = "cannot stand in front of `{E}`",
    note = "implement `Middleware<{R}, {E}>` for `{Self}`, or list it after the one event it is for: `{E} with [{Self}]`"
)]
pub trait Middleware<R: Room, E: Event>: Send + Sync + 'static {
    /// Handles one event; `next` is the rest of the stack, which ends with the publish to the room.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] that is sent to the event's sender; the event is not stored then.
    ///
    /// # Cancel safety
    ///
    /// Until the event is handed to the room, the future is dropped when the sender cancels the request (an HTTP
    /// request is aborted, the future of a trigger in server code is dropped) and when the sending connection is closed
    /// by the application or because its token expired; the event is not stored then. Once the event is handed to the
    /// room, the future is no longer dropped: the code after `next.run()` continues on a spawned task if the sender is
    /// gone, for at most one minute.
    fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> impl Future<Output = Flow> + Send;
}

/// The rest of a middleware stack, followed by the publish to the room.
pub trait Next<R: Room, E>: Send {
    /// Runs the rest of the stack.
    ///
    /// # Errors
    ///
    /// The refusal of a later middleware, or of the room.
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send;
}

/// The context of an event in middleware: its sender and its room.
pub struct Cx<R: Room> {
    pub(crate) key: R::Key,
    pub(crate) room_id: Arc<str>,
    pub(crate) from: Arc<str>,
    pub(crate) user: Option<User>,
    /// The identity that the room requires, as [`ServerRoom::Identity`].
    pub(crate) identity: Option<AnyIdentity>,
    pub(crate) is_server: bool,
    /// The key that rate limits count by; `None` if they don't apply.
    pub(crate) rate_limit_key: Option<RateLimitKey>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) idempotency_key: Option<Box<str>>,
    /// Set once the event is handed to the room, after which middleware can no longer cancel it.
    pub(crate) is_submitted: Arc<AtomicBool>,
}

impl<R: Room> Cx<R> {
    /// Returns the key of the room instance.
    pub fn key(&self) -> &R::Key {
        &self.key
    }

    /// Returns the id of the room instance, as on the wire: `chat`, `project:42`.
    pub fn room_id(&self) -> &str {
        &self.room_id
    }

    /// Returns the id of the user that sends the event; `system` for server code, and the name that a backend chose.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Returns the user's identity as the authenticator returned it, if it is a `T`. `None` for an anonymous user, for
    /// server code, and if the authenticator's identity is another type.
    pub fn identity_as<T: Send + Sync + 'static>(&self) -> Option<IdentityRef<T>> {
        let identity = Arc::clone(&self.user.as_ref()?.authenticated.as_ref()?.identity);
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
        self.user.as_ref().is_some_and(|user| user.has_role(role))
    }

    /// Returns the idempotency key, by which the room recognises a retry: the trigger's `key`, or the header
    /// `Idempotency-Key`.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// Returns whether the sender is server code, or the application's backend with a server key.
    pub fn is_server(&self) -> bool {
        self.is_server
    }
}

impl<R: Room> fmt::Debug for Cx<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("room_id", &self.room_id).field("from", &self.from).finish_non_exhaustive()
    }
}

/// A composed middleware stack: `()`, `(&first, rest)`, or [`Layered`].
pub trait MiddlewareStack<R: Room, E>: Send + Sync {
    /// Set for a stack without middleware, whose events are published without a boxed future.
    const IS_EMPTY: bool;

    /// Runs the stack, then `end`.
    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send
    where
        E: Event;
}

impl<R: Room, E> MiddlewareStack<R, E> for () {
    const IS_EMPTY: bool = true;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send
    where
        E: Event,
    {
        end.run(cx, event)
    }
}

impl<R: Room, E: Event, M: Middleware<R, E>, T: MiddlewareStack<R, E>> MiddlewareStack<R, E> for (&M, T) {
    const IS_EMPTY: bool = false;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send {
        self.0.handle(cx, event, RunStack { stack: &self.1, end })
    }
}

/// The server's middleware: the stack `L` of what was added before, then `M`. The innermost `L` is `()`.
#[derive(Debug)]
pub struct Layered<L, M>(pub(crate) L, pub(crate) M);

impl<R: Room, E: Event, L: MiddlewareStack<R, E>, M: Middleware<R, E>> MiddlewareStack<R, E>
    for Layered<L, M>
{
    const IS_EMPTY: bool = false;

    fn run(&self, cx: &Cx<R>, event: E, end: impl Next<R, E>) -> impl Future<Output = Flow> + Send {
        self.0.run(cx, event, RunMiddleware { middleware: &self.1, end })
    }
}

/// A [`Next`] that runs one middleware, then `end`.
struct RunMiddleware<'a, M, N> {
    middleware: &'a M,
    end: N,
}

impl<R: Room, E: Event, M: Middleware<R, E>, N: Next<R, E>> Next<R, E> for RunMiddleware<'_, M, N> {
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send {
        self.middleware.handle(cx, event, self.end)
    }
}

/// A [`Next`] that runs a stack, then `end`.
pub(crate) struct RunStack<'a, T, N> {
    pub(crate) stack: &'a T,
    pub(crate) end: N,
}

impl<R: Room, E: Event, T: MiddlewareStack<R, E>, N: Next<R, E>> Next<R, E> for RunStack<'_, T, N> {
    fn run(self, cx: &Cx<R>, event: E) -> impl Future<Output = Flow> + Send {
        self.stack.run(cx, event, self.end)
    }
}
