//! Ingest: the path of an event into a room's log.
//!
//! An event arrives as a [`Trigger`], from a connection, an HTTP request or server code. Its sender's rate limits
//! ([`Limiter`]) and the application's hooks have been applied by then (`engine`). Here it is decoded and validated, runs
//! through the middleware stack that `rooms!` composed for it, and is published to the room instance. [`AnyRoom`] is the
//! entry point; the shipped middleware is here too.

#[cfg(feature = "filter")]
mod content_filter;
mod dedup;
mod from_state;
mod function;
mod limits;
mod logger;
mod middleware;
mod rate_limit;
mod require;
mod require_role;
mod room;
mod timeout;
mod trigger;

#[cfg(feature = "filter")]
pub use content_filter::ContentFilter;
pub use dedup::Dedup;
pub use from_state::FromState;
pub use function::{IntoFlowFuture, MiddlewareFn, call_closure, call_function};
pub(crate) use limits::{
    ConnectionLimiter, ConnectionPermit, FrameLimiter, Limiter, RateLimits, SharedQuota,
};
pub use limits::{Quota, RateLimitKey};
pub use logger::Logger;
pub use middleware::{Cx, Flow, IdentityRef, Layered, Middleware, MiddlewareStack, Next};
pub use rate_limit::RateLimit;
pub use require::Require;
pub use require_role::RequireRole;
pub(crate) use room::{AnyRoom, build_room};
pub use room::{EventIngest, MiddlewareFromState, RoomIngest, ServerRoom};
pub use timeout::Timeout;
pub(crate) use trigger::{DirectRecipient, EncodedEvent, Trigger};
