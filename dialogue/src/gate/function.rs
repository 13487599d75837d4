//! Middleware that is written as a function or a closure.

use std::{convert::Infallible, future::Future};

use super::{Cx, Flow, Next};
use crate::Room;

/// `with [fn name]`: calls the function.
pub fn call_function<'a, R, E, N, F, T, M>(function: F, cx: &'a Cx<R>, event: E, next: N) -> T
where
    R: Room,
    N: Next<R, E>,
    F: MiddlewareFn<'a, R, E, N, T, M>,
{
    function.call(cx, event, next)
}

/// `with [async |cx, event, next| ..]`: says what the closure is given, and calls it.
pub fn call_closure<'a, R, E, N, F, T, U, M>(closure: F, cx: &'a Cx<R>, event: E, next: N) -> U
where
    R: Room,
    N: Next<R, E>,
    F: FnOnce(&'a Cx<R>, E, N) -> T,
    T: Answer<U, M>,
{
    closure(cx, event, next).answer()
}

/// A function that can stand in front of event `E` in room `R`.
///
/// `M` distinguishes two blanket implementations, the second of which applies to no type. With one implementation only, rustc
/// reports a wrong function by the bounds of that implementation instead of this trait's message.
#[diagnostic::on_unimplemented(
    message = "this function cannot stand in front of `{E}` in room `{R}`",
    label = "needs another signature",
    note = "middleware for `{E}` in room `{R}` is written `async fn name(cx: &Cx<{R}>, event: {E}, next: impl Next<{R}, {E}>) -> Flow`",
    note = "for other events too: `async fn name<R: Room, E: Event>(cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow`"
)]
pub trait MiddlewareFn<'a, R: Room, E, N, T, M> {
    /// Calls it.
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
pub trait Answer<U, M> {
    /// The future.
    fn answer(self) -> U;
}

#[diagnostic::do_not_recommend]
impl<T: Future<Output = Flow>> Answer<T, ()> for T {
    fn answer(self) -> T {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<T: Never, U> Answer<U, Infallible> for T {
    fn answer(self) -> U {
        self.never()
    }
}

/// Nothing is this.
pub trait Never {
    /// Never called.
    fn never<T>(self) -> T;
}
