//! The wire protocol, version 1, which `PROTOCOL.md` beside the crate's manifest specifies: the frames of the server
//! and the requests of clients, each declared once for both ends, their encodings, and the types that are part of the
//! API.

mod code;
#[cfg(feature = "server")]
mod encoding;
#[cfg(feature = "server")]
mod event_set;
#[cfg(any(feature = "server", feature = "client"))]
#[cfg_attr(
    not(all(feature = "server", feature = "client")),
    expect(dead_code, reason = "each end reads or writes a part of it")
)]
pub(crate) mod frame;
#[cfg(feature = "server")]
mod id;
#[cfg(feature = "server")]
mod index;
#[cfg(feature = "server")]
pub(crate) mod json;
mod position;
mod refusal;
#[cfg(any(feature = "server", feature = "client"))]
#[cfg_attr(not(feature = "server"), expect(dead_code, reason = "the client sends no `listRooms`"))]
pub(crate) mod request;

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
