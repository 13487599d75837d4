//! The wire protocol, version 1. `PROTOCOL.md`, beside the crate's manifest, specifies all of it; this module holds the
//! types that are part of the API.

mod code;
#[cfg(feature = "server")]
mod encoding;
#[cfg(feature = "server")]
mod event_set;
#[cfg(feature = "server")]
pub(crate) mod frame;
#[cfg(feature = "server")]
mod id;
#[cfg(feature = "server")]
mod index;
#[cfg(feature = "server")]
pub(crate) mod json;
mod position;
mod refusal;

pub use code::Code;
#[cfg(feature = "server")]
pub(crate) use encoding::{Encoding, put_id, stream_position};
#[cfg(feature = "server")]
pub(crate) use event_set::EventSet;
#[cfg(feature = "server")]
pub use id::Id;
#[cfg(feature = "server")]
pub(crate) use index::{EventIndex, RoomIndex};
pub use position::{Accepted, Position};
pub use refusal::{Detail, Refusal};
