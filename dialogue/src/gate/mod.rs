//! What an event passes on its way into a room's log.

mod from_state;
mod middleware;
mod post;
mod row;

pub use from_state::FromState;
pub use middleware::{Around, Caller, Chain, Cx, Flow, Middleware, Next};
pub(crate) use post::{Post, Prepared};
pub(crate) use row::{AnyRoom, guarded};
pub use row::{Equipped, Gate, Gated, Gates, Served};
