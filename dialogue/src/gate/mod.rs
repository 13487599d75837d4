//! What an event passes on its way into a room's log.

#[cfg(feature = "filter")]
mod content_filter;
mod dedup;
mod from_state;
mod function;
mod limits;
mod logger;
mod middleware;
mod post;
mod rate_limit;
mod require;
mod require_role;
mod row;
mod timeout;

#[cfg(feature = "filter")]
pub use content_filter::ContentFilter;
pub use dedup::Dedup;
pub use from_state::FromState;
pub use function::{Answer, MiddlewareFn, call_closure, call_function};
pub(crate) use limits::{Allowance, Doors, Limiter, Rates, Shared, Visit};
pub use limits::{Quota, Subject};
pub use logger::Logger;
pub use middleware::{Around, Caller, Chain, Cx, Flow, Middleware, Next};
pub(crate) use post::{Post, Prepared, Recipient};
pub use rate_limit::RateLimit;
pub use require::Require;
pub use require_role::RequireRole;
pub(crate) use row::{AnyRoom, guarded};
pub use row::{Equipped, Gate, Gates, Served};
pub use timeout::Timeout;
