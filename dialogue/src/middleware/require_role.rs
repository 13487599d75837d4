//! Middleware that requires a role of the sender.

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Refuses the events of users without a role, with `PERMISSION_DENIED`. Server code and server keys pass.
///
/// Use it for single events of a room that users without the role may join and read. The role that joining a room
/// requires is part of its declaration: `#[room(role = "member")]`.
///
/// ```
/// use dialogue::middleware::RequireRole;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// #[dialogue::event]
/// pub struct Pinned { pub event_id: String }
///
/// dialogue::rooms! {
///     chat: [Message, Pinned with [RequireRole::new("moderator")]] via [websocket];
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct RequireRole(&'static str);

impl RequireRole {
    /// Requires `role`.
    pub const fn new(role: &'static str) -> Self {
        RequireRole(role)
    }
}

impl<R: Room, E: Event> Middleware<R, E> for RequireRole {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        if !cx.is_server() && !cx.has_role(self.0) {
            let message = format!("`{}` needs the role `{}`", E::NAME, self.0);
            return Err(Refusal::new(Code::PermissionDenied, message));
        }
        next.run(cx, event).await
    }
}
