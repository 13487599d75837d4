//! Middleware written as a function or a closure.
//!
//! The expansion of `rooms!` calls [`call_function`] for `with [fn name]` and [`call_closure`] for
//! `with [async |..| ..]`; the bounds of these two give rustc's error for a function of another signature.

use std::{convert::Infallible, future::Future};

use super::{Cx, Flow, Next};
use crate::Room;

/// Calls the function of `with [fn name]`.
pub fn call_function<'a, R, E, N, F, T, M>(function: F, cx: &'a Cx<R>, event: E, next: N) -> T
where
    R: Room,
    N: Next<R, E>,
    F: MiddlewareFn<'a, R, E, N, T, M>,
{
    function.call(cx, event, next)
}

/// Calls the closure of `with [async |cx, event, next| ..]`, whose argument types are inferred from this signature.
pub fn call_closure<'a, R, E, N, F, T, U, M>(closure: F, cx: &'a Cx<R>, event: E, next: N) -> U
where
    R: Room,
    N: Next<R, E>,
    F: FnOnce(&'a Cx<R>, E, N) -> T,
    T: IntoFlowFuture<U, M>,
{
    closure(cx, event, next).into_flow_future()
}

/// A function that can be middleware for event `E` in room `R`.
///
/// `M` distinguishes two blanket implementations, the second of which applies to no type. With one implementation only,
/// rustc reports a wrong function by the bounds of that implementation instead of this trait's message.
#[diagnostic::on_unimplemented(
    message = "this function cannot stand in front of `{E}` in room `{R}`",
    label = "needs another signature",
    note = "middleware for `{E}` in room `{R}` is written `async fn name(cx: &Cx<{R}>, event: {E}, next: impl Next<{R}, {E}>) -> Flow`",
    note = "for other events too: `async fn name<R: Room, E: Event>(cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow`"
)]
pub trait MiddlewareFn<'a, R: Room, E, N, T, M> {
    /// Calls the function.
    fn call(self, cx: &'a Cx<R>, event: E, next: N) -> T;
}

#[diagnostic::do_not_recommend]
impl<'a, R: Room, E, N, F, T> MiddlewareFn<'a, R, E, N, T, ()> for F
where
    F: FnOnce(&'a Cx<R>, E, N) -> T,
    T: Future<Output = Flow>,
{
    fn call(self, cx: &'a Cx<R>, event: E, next: N) -> T {
        self(cx, event, next)
    }
}

#[diagnostic::do_not_recommend]
impl<'a, R: Room, E, N, F: Never, T> MiddlewareFn<'a, R, E, N, T, Infallible> for F {
    fn call(self, _: &'a Cx<R>, _: E, _: N) -> T {
        self.never()
    }
}

/// The return type of a closure that is middleware: a future `U` of a [`Flow`]. As to `M`, see [`MiddlewareFn`].
#[diagnostic::on_unimplemented(
    message = "this closure does not return a `Flow`",
    label = "returns something else, or is not `async`",
    note = "middleware is written `async |cx, event, next| next.run(cx, event).await`"
)]
pub trait IntoFlowFuture<U, M> {
    /// Returns the future.
    fn into_flow_future(self) -> U;
}

#[diagnostic::do_not_recommend]
impl<T: Future<Output = Flow>> IntoFlowFuture<T, ()> for T {
    fn into_flow_future(self) -> T {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<T: Never, U> IntoFlowFuture<U, Infallible> for T {
    fn into_flow_future(self) -> U {
        self.never()
    }
}

/// A trait that no type implements.
pub trait Never {
    /// Is never called.
    fn never<T>(self) -> T;
}
