//! Middleware, and its composition to a stack at compile time, without boxes.
//!
//! A stack is a nested tuple, `(&first, (&second, ()))`, that `rooms!` builds for each event: the room's middleware,
//! then the event's. The server's own middleware, [`Layered`], runs before it. The shape is that of tower's `Service`
//! and `Layer` with one call instead of two.

use std::future::Future;

use super::Cx;
use crate::{
    Event, Room,
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
