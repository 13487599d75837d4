//! What an event passes on its way into a room's log.

mod middleware;
mod post;
mod row;

pub use middleware::{Caller, Chain, Cx, Flow, Middleware, Next};
pub(crate) use post::{Post, Prepared};
pub(crate) use row::{AnyRoom, Guarded, guarded};
pub use row::{Gate, Gated, Served};
