//! What somebody must be, to say something.

use std::fmt;

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Lets past only users of whom the authenticator told something that will do; others get `PERMISSION_DENIED`. Server code
/// and server keys pass.
///
/// `T` is the authenticator's [identity](crate::Authenticator::Identity): of somebody who is anonymous, and where the
/// authenticator tells of another type, there is none, and nobody passes. What is asked of whoever joins stands in the
/// declaration: `#[room(identity = Member)]`.
///
/// ```
/// use dialogue::Require;
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
    /// Whom `allows` says yes to; `reason` is what the others are told.
    pub const fn new(reason: &'static str, allows: fn(&T) -> bool) -> Self {
        Require { reason, allows }
    }
}

impl<T: Send + Sync + 'static, R: Room, E: Event> Middleware<R, E> for Require<T> {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        if !cx.is_server() && !cx.caller::<T>().is_some_and(|caller| (self.allows)(&caller)) {
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
