//! The types of the wire protocol, version 1, which `PROTOCOL.md` beside the crate's manifest specifies.

#[cfg(feature = "server")]
#[doc(inline)]
pub use dialogue_core::wire::Id;
#[doc(inline)]
pub use dialogue_core::wire::{Accepted, Code, Detail, Position, Refusal};
#[cfg(feature = "server")]
pub(crate) use dialogue_core::wire::{
    Encoding, EventIndex, EventSet, RoomIndex, json, put_id, stream_position,
};
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) use dialogue_core::wire::{frame, request};
