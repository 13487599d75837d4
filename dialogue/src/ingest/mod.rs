//! Ingest: the path of an event into a room's log.
//!
//! An event arrives as a [`Trigger`], from a connection, an HTTP request or server code. Its sender's rate limits
//! ([`Limiter`](crate::limits::Limiter)) and the application's hooks have been applied by then (`engine`). Here it is
//! decoded and validated, runs through the middleware stack that `rooms!` composed for it, and is published to the room
//! instance. [`AnyRoom`] is the entry point.

mod room;
mod trigger;

pub(crate) use room::{AnyRoom, build_room};
pub use room::{EventIngest, MiddlewareFromState, RoomIngest};
pub(crate) use trigger::{DirectRecipient, EncodedEvent, Trigger};
