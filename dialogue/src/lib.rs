//! Typed realtime rooms.

// The macros' expansions name `::dialogue`, in our own doctests and unit tests too.
extern crate self as dialogue;

#[cfg(feature = "server")]
mod channel;
#[cfg(feature = "client")]
pub mod client;
mod delivery;
#[cfg(feature = "server")]
mod engine;
mod event;
#[cfg(feature = "server")]
mod gate;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
mod identity;
#[cfg(feature = "server")]
mod log;
pub mod room;
#[cfg(feature = "server")]
mod session;
#[cfg(feature = "server")]
mod server;
pub mod wire;

#[doc(hidden)]
pub mod __private;

#[cfg(feature = "client")]
pub use client::{Client, Connect, JoinRoom, RoomClient};
pub use delivery::Delivery;
pub use dialogue_macros::event;
pub use event::{ClientEvent, DeliveryClass, Event, Sender};
#[cfg(feature = "server")]
pub use gate::{Chain, Cx, Flow, Gate, Gated, Middleware, Next, Served};
pub use room::{Carried, Channel, EventOf, Key, Retention, Room, RoomOptions, TwoWay, Unkeyed, Via};
#[cfg(feature = "server")]
pub use server::{Application, Declared, RoomHandle, Server, ServerBuilder};
pub use wire::{Accepted, Code, Detail, Position, Refusal};

/// Declares rooms.
#[macro_export]
macro_rules! rooms {
    ($($tokens:tt)*) => { $crate::__private::rooms! { ($crate) $($tokens)* } };
}
