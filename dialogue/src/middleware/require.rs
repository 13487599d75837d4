//! Middleware that requires a property of the sender's identity.

use std::fmt;

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Refuses the events of users whose identity doesn't satisfy a predicate, with `PERMISSION_DENIED`. Server code and
/// server keys pass.
///
/// `T` is the authenticator's [identity](crate::Authenticator::Identity). An anonymous user has none and is refused; if
/// the authenticator's identity is another type, every user is refused. Requirements for joining a room are part of its
/// declaration: `#[room(identity = Member)]`.
///
/// ```
/// use dialogue::middleware::Require;
///
/// #[derive(Debug, Clone)]
/// pub struct Member { pub verified: bool }
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! {
///     chat: [Message] via [websocket]
///         with [Require::<Member>::new("verify your address first", |member| member.verified)];
/// }
/// # fn main() {}
/// ```
pub struct Require<T> {
    reason: &'static str,
    allows: fn(&T) -> bool,
}

impl<T> Require<T> {
    /// Lets users pass for whose identity `allows` returns `true`; `reason` is the message of the refusal of others.
    pub const fn new(reason: &'static str, allows: fn(&T) -> bool) -> Self {
        Require { reason, allows }
    }
}

impl<T: Send + Sync + 'static, R: Room, E: Event> Middleware<R, E> for Require<T> {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        if !cx.is_server() && !cx.identity_as::<T>().is_some_and(|identity| (self.allows)(&identity)) {
            return Err(Refusal::new(Code::PermissionDenied, self.reason));
        }
        next.run(cx, event).await
    }
}

impl<T> fmt::Debug for Require<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Require").field("reason", &self.reason).finish_non_exhaustive()
    }
}
