//! Construction of middleware from the application's state, when the server is built.

/// A type that can be constructed from the application's state `S`. `with [Type]` requires it of `Type`, and constructs
/// one value per server, when the server is built.
///
/// The state is the argument of [`ServerBuilder::state`](crate::server::ServerBuilder::state), or `()`. A type with
/// [`Default`] is constructed by it, from any state; a constructor call, `with [Type::new(..)]`, requires neither.
///
/// ```
/// use std::{collections::HashSet, sync::Arc};
///
/// use dialogue::{Cx, Event, Flow, Middleware, Next, Refusal, Room, middleware::FromState};
///
/// /// State that the parts of the application share.
/// #[derive(Clone)]
/// pub struct Shared { banned: Arc<HashSet<String>> }
///
/// /// Refuses the events of banned users.
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
    note = "implement its construction: `impl dialogue::middleware::FromState<{S}> for {Self}`, `#[derive(Default)]`, or a constructor call: `with [Type::new(..)]`"
)]
pub trait FromState<S> {
    /// Constructs the value.
    fn from_state(state: &S) -> Self;
}

#[diagnostic::do_not_recommend]
impl<S, T: Default> FromState<S> for T {
    fn from_state(_: &S) -> Self {
        T::default()
    }
}
