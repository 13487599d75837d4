//! The wire protocol, version 1, which `PROTOCOL.md` of the package `dialogue` specifies: the frames of the server and
//! the requests of clients, each declared once for both ends, their encodings, and the types that are part of the API.

mod code;
#[doc(hidden)]
pub mod encoding;
#[doc(hidden)]
pub mod event_set;
#[doc(hidden)]
pub mod frame;
mod id;
#[doc(hidden)]
pub mod index;
#[doc(hidden)]
pub mod json;
mod position;
mod refusal;
#[doc(hidden)]
pub mod request;
#[cfg(feature = "server")]
mod response;

pub use code::Code;
#[doc(hidden)]
pub use encoding::{Encoding, put_id, stream_position};
#[doc(hidden)]
pub use event_set::EventSet;
pub use id::Id;
#[doc(hidden)]
pub use index::{EventIndex, RoomIndex};
pub use position::{Accepted, Position};
pub use refusal::{Detail, Refusal};
