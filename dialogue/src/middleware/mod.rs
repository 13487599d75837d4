//! Middleware: code that runs for each event of a room before the event is appended to the room's log.
//!
//! An application implements [`Middleware`]. `rooms!` composes the values that a room and its events list into one
//! [`MiddlewareStack`] per event. The middleware that Dialogue ships is here too: [`Logger`], [`RateLimit`], [`Dedup`],
//! [`Timeout`], [`Require`], [`RequireRole`] and `ContentFilter` (feature `filter`).

#[cfg(feature = "filter")]
mod content_filter;
mod context;
mod dedup;
mod from_state;
pub(crate) mod function;
mod logger;
mod rate_limit;
mod require;
mod require_role;
mod stack;
mod timeout;

#[cfg(feature = "filter")]
pub use content_filter::ContentFilter;
pub use context::Cx;
pub(crate) use context::EventContext;
pub use dedup::Dedup;
pub use from_state::FromState;
pub use logger::Logger;
pub use rate_limit::RateLimit;
pub use require::Require;
pub use require_role::RequireRole;
pub(crate) use stack::RunStack;
pub use stack::{Flow, Layered, Middleware, MiddlewareStack, Next};
pub use timeout::Timeout;
