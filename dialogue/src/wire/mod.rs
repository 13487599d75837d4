//! The wire contract, version 1: what both ends speak. `PROTOCOL.md`, beside the crate's manifest, is the whole of it; here
//! are the parts of it that stand in the API.

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
pub use position::{Accepted, Position};
pub use refusal::{Detail, Refusal};
