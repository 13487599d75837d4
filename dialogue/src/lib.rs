//! Typed realtime rooms.

// The macros' expansions name `::dialogue`, in our own doctests and unit tests too.
#[allow(unused_extern_crates)]
extern crate self as dialogue;

#[cfg(feature = "server")]
mod channel;
#[cfg(feature = "client")]
pub mod client;
mod delivery;
#[cfg(feature = "server")]
mod directory;
#[cfg(feature = "server")]
mod engine;
mod event;
#[cfg(feature = "server")]
mod gate;
#[cfg(feature = "server")]
mod hooks;
#[cfg(feature = "server")]
mod hub;
#[cfg(feature = "server")]
mod identity;
#[cfg(feature = "server")]
mod log;
pub mod room;
#[cfg(any(feature = "server", feature = "client"))]
mod sending;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod session;
pub mod wire;

#[doc(hidden)]
pub mod __private;

#[cfg(feature = "client")]
pub use client::{Client, Connect, JoinRoom, RoomClient};
pub use delivery::Delivery;
pub use dialogue_macros::event;
pub use event::{ClientEvent, DeliveryClass, Event, Sender};
#[cfg(feature = "server")]
pub use gate::{Caller, Chain, Cx, Flow, Gate, Gated, Middleware, Next, Served};
#[cfg(feature = "server")]
pub use hooks::{Hooks, RoomRef, Visitor};
#[cfg(feature = "jwt")]
pub use identity::jwt::{self, Jwt};
#[cfg(feature = "server")]
pub use identity::{AuthError, Authenticated, Authenticator, Credentials};
pub use room::{Carried, Channel, EventOf, Key, Retention, Room, RoomOptions, TwoWay, Unkeyed, Via};
#[cfg(any(feature = "server", feature = "client"))]
pub use sending::Sending;
#[cfg(feature = "server")]
pub use server::{
    Application, ConnectionInfo, Declared, Error, ListenerHandle, Listening, NewRoom, RoomDescription,
    RoomHandle, Server, ServerBuilder, UserHandle, Users,
};
pub use wire::{Accepted, Code, Detail, Position, Refusal};

/// What building and serving a [`Server`] yields.
#[cfg(feature = "server")]
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Declares rooms.
#[macro_export]
macro_rules! rooms {
    ($($tokens:tt)*) => { $crate::__private::rooms! { ($crate) $($tokens)* } };
}

/// What most programs with Dialogue name.
pub mod prelude {
    #[cfg(feature = "client")]
    pub use crate::{Client, RoomClient};
    #[cfg(feature = "server")]
    pub use crate::{Cx, Flow, Middleware, Next, RoomHandle, Server};
    pub use crate::{Delivery, Event, EventOf, Refusal, Room, event};
}
