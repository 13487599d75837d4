//! Middleware that is made when the server is.

/// Made from the application's state `S`, once, when the server is built: what a `with [Type]` asks of `Type`.
///
/// The state is what [`ServerBuilder::state`](crate::ServerBuilder::state) was given, or `()`. Whatever is [`Default`] is
/// made so, from any state; a constructor call, `with [Type::new(..)]`, asks for neither.
///
/// ```
/// use std::{collections::HashSet, sync::Arc};
///
/// use dialogue::{Cx, Event, Flow, FromState, Middleware, Next, Refusal, Room};
///
/// /// What the application's parts share.
/// #[derive(Clone)]
/// pub struct Shared { banned: Arc<HashSet<String>> }
///
/// /// Who is banned says nothing.
/// pub struct NotBanned(Arc<HashSet<String>>);
///
/// impl FromState<Shared> for NotBanned {
///     fn from_state(state: &Shared) -> Self {
///         NotBanned(Arc::clone(&state.banned))
///     }
/// }
///
/// impl<R: Room, E: Event> Middleware<R, E> for NotBanned {
///     async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
///         if self.0.contains(cx.from()) {
///             return Err(Refusal::blocked("you are banned"));
///         }
///         next.run(cx, event).await
///     }
/// }
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket] with [NotBanned]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> dialogue::Result<()> {
/// let shared = Shared { banned: Arc::new(HashSet::from(["mallory".to_owned()])) };
/// let server = Acme::server().state(shared).build().await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not made from the state `{S}`",
    label = "needs another state than `{S}`",
    note = "the state is what the server is given, `.state(..)`, and `()` without",
    note = "say how it is made: `impl dialogue::FromState<{S}> for {Self}`, `#[derive(Default)]`, or a constructor call: `with [Type::new(..)]`"
)]
pub trait FromState<S> {
    /// Makes it.
    fn from_state(state: &S) -> Self;
}

#[diagnostic::do_not_recommend]
impl<S, T: Default> FromState<S> for T {
    fn from_state(_: &S) -> Self {
        T::default()
    }
}
