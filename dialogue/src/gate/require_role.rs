//! The role that somebody must have, to say something.

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Lets past only users with a role; others get `PERMISSION_DENIED`. Server code and server keys pass.
///
/// For one event of a room that others may join and read; who may join at all stands in the declaration:
/// `#[room(role = "member")]`.
///
/// ```
/// use dialogue::RequireRole;
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
    /// Who has `role`.
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
