//! What an event passes on its way into a room's log.

mod middleware;
mod row;

pub use middleware::{Chain, Cx, Flow, Middleware, Next};
pub use row::{Gate, Gated, Served};
