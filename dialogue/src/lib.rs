//! Typed realtime rooms over WebSocket and Server-Sent Events, checked at compile time.
//!
//! Annotate what is said with [`#[dialogue::event]`](macro@event), declare where with [`rooms!`], and get an axum router,
//! the middleware chain of every room and typed clients.
//!
//! ```
//! use dialogue::prelude::*;
//!
//! #[dialogue::event]
//! pub struct Message {
//!     #[validate(length(min = 1, max = 2000))]
//!     pub text: String,
//! }
//!
//! dialogue::rooms! {
//!     pub struct Acme;
//!     #[room(retain(events = 1_000), sync = 50)]
//!     chat: [Message] via [websocket, sse];
//! }
//!
//! # #[cfg(feature = "server")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Acme::server().build().await?;
//! let app: axum::Router = axum::Router::new().merge(server.router());
//! let accepted = server.chat().trigger(Message { text: "welcome".into() }).await?;
//! assert_eq!(accepted.seq, Some(1));
//! # drop(app);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "server"))]
//! # fn main() {}
//! ```
//!
//! # Where to go on
//!
//! | for | see |
//! |---|---|
//! | what an event and a room may say of themselves | [`macro@event`], [`rooms!`] |
//! | building, serving and draining | [`ServerBuilder`], [`Server`] |
//! | putting events into rooms, and reacting to them | [`RoomHandle`] |
//! | what an event passes on its way in | [`Middleware`], and [`ContentFilter`], [`Dedup`], [`Logger`], [`RateLimit`], [`Require`], [`RequireRole`], [`Timeout`] |
//! | how much anybody may do | [`ServerBuilder`], [`Rate`], [`Quota`] |
//! | what outlives the process | [`store`], [`RoomHandle::history`] |
//! | who somebody is, and what they may do | [`Authenticator`], [`Hooks`], [`Users`] |
//! | people who are not connected | [`Notification`], `push` (feature `push`) |
//! | what operators see | [`observe`] |
//! | the Rust client | `client` (feature `client`) |
//! | what stands on the wire | [`wire`] |
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `server` (default) | the engine and its channels |
//! | `filter` (default) | [`ContentFilter`]: brings `aho-corasick` and `regex` |
//! | `client` | the typed client; without `server`, the crate compiles without axum |
//! | `client-tls` | `wss://` and `https://` for the client |
//! | `push` | notifications for people who are not connected, by FCM, APNs or a provider of one's own |
//! | `webpush` | the same by browsers' push services; links OpenSSL |
//! | `redis`, `redis-tls` | rooms' logs in Redis; over TLS |
//! | `metrics`, `statsd` | numbers for Prometheus, for StatsD |
//! | `inspector` | a page that shows what the server does |
//! | `jwt`, `jwks` | JSON Web Tokens as identities; keys from a URL |
//! | `testing` | for tests: what tries a store of one's own |

// The macros' expansions name `::dialogue`, in our own doctests and unit tests too.
#[allow(unused_extern_crates)]
extern crate self as dialogue;

#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
pub mod backplane;
#[cfg(feature = "server")]
mod caught;
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
mod filtered;
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
mod notification;
#[cfg(feature = "server")]
pub mod observe;
#[cfg(feature = "server")]
mod origins;
#[cfg(feature = "push")]
pub mod push;
#[cfg(all(feature = "server", not(feature = "push")))]
#[path = "push/absent.rs"]
mod push;
mod rate;
#[cfg(feature = "redis")]
mod redis;
pub mod room;
#[cfg(any(feature = "server", feature = "client"))]
mod sending;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod session;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;

#[doc(hidden)]
pub mod __private;

#[cfg(feature = "redis")]
pub use self::redis::{Redis, RedisConnect, RedisError, RedisErrorKind};
#[cfg(feature = "client")]
pub use client::{Client, Connect, JoinRoom, RoomClient};
pub use delivery::Delivery;
pub use dialogue_macros::event;
pub use event::{ClientEvent, DeliveryClass, Event, Sender};
pub use filtered::Filtered;
#[cfg(feature = "filter")]
pub use gate::ContentFilter;
#[cfg(feature = "server")]
pub use gate::{
    Around, Caller, Chain, Cx, Dedup, Equipped, Flow, FromState, Gate, Gated, Gates, Logger, Middleware,
    Next, Quota, RateLimit, Require, RequireRole, Served, Subject, Timeout,
};
#[cfg(feature = "server")]
pub use hooks::{Hooks, RoomRef, Visitor};
#[cfg(feature = "jwt")]
pub use identity::jwt::{self, Jwt};
#[cfg(feature = "server")]
pub use identity::{Anybody, Asked, AuthError, Authenticated, Authenticator, Credentials, Provides};
pub use notification::{Audience, Notice, Notification, Recipient, Urgency};
#[cfg(feature = "push")]
pub use push::Push;
pub use rate::{PerTime, Rate};
pub use room::{Carried, Channel, EventOf, Key, Retention, Room, RoomOptions, TwoWay, Unkeyed, Via};
#[cfg(any(feature = "server", feature = "client"))]
pub use sending::Sending;
#[cfg(feature = "server")]
pub use server::{
    Admits, Application, Building, ConnectionInfo, Declared, Error, History, HistoryPage, ListenerHandle,
    Listening, NewRoom, RoomDescription, RoomHandle, Server, ServerBuilder, Serves, Snapshot, Stateful,
    UserHandle, Users,
};
pub use wire::{Accepted, Code, Detail, Position, Refusal};

/// What building and serving a [`Server`] yields.
#[cfg(feature = "server")]
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Declares the rooms of an application.
///
/// ```text
/// rooms = body | "<" body ">" ;
/// body  = [ {attr} [vis] "struct" IDENT ";" ] { room ";" } [ room ] ;
/// room  = {attr} IDENT [ "(" type ")" ] ":" "[" event {"," event} "]" { "via" "[" IDENT {"," IDENT} "]" | "with" chain } ;
/// event = path [ "as" IDENT ] [ "with" chain ] ;
/// chain = "[" entry {"," entry} "]" ;
/// entry = type | call | "fn" path | closure ;
/// ```
///
/// Middleware in a chain is a type, which is made from the server's state ([`FromState`]) or with `Default`; a call of one of
/// the type's own functions, `Type::new(..)`, and methods on that which yield the same type; a function with the arguments of
/// [`Middleware::handle`] but the first, `fn name`; or a closure, `async |cx, event, next| ..`. Its order is the server's, the
/// room's, the event's.
///
/// | room option | meaning | without |
/// |---|---|---|
/// | `name = "Chat"` | the name for people | the declared name |
/// | `capacity = 10_000` | connections in an instance | no bound |
/// | `retain(events = 1_000, bytes = 1MiB, age = 7d)` | what the log keeps; any of them | 1,000 events or 1 MiB |
/// | `retain(forever)` | the log keeps everything; takes a server with a store | |
/// | `audit` | each event carries a hash over itself and all before it | no hashes |
/// | `state = Board` | instances have a state of their own, see [`RoomHandle::update`] | none |
/// | `sync = 50` | events that a fresh join is sent as history | none |
/// | `subscribe = [Message]` | what a join subscribes to that doesn't say | all |
/// | `presence`, `presence = 5s` | members are told who comes and goes, with that grace | not told; 2 s |
/// | `role = "member"` | only users with that role may join | everybody |
/// | `limit = 10 per 1s`, `limit = 10 per 1s burst 20` | events that a client may put into its instances, all together, and how many at once | no limit; as many as in the time |
///
/// A room `chat` of an application `Acme` (by default a private `Rooms`) gives the types `Chat`, `ChatEvent` (an enum of
/// its events), `ChatClient`, and the methods `AcmeServer::chat` and `AcmeClient::chat`. The room's doc comment is what
/// lists of rooms describe it by.
///
/// ```
/// # #[dialogue::event] pub struct Message { pub text: String }
/// # #[dialogue::event(ephemeral)] pub struct Typing { pub active: bool }
/// dialogue::rooms! {
///     pub struct Acme;
///
///     /// Where everybody talks.
///     #[room(capacity = 500, sync = 20, presence)]
///     chat: [Message, Typing] via [websocket, sse];
///
///     /// One for each number.
///     project(u64): [Message] via [websocket];
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! rooms {
    ($($tokens:tt)*) => { $crate::__private::rooms! { ($crate) $($tokens)* } };
}

/// What most programs with Dialogue name.
pub mod prelude {
    #[cfg(feature = "filter")]
    pub use crate::ContentFilter;
    #[cfg(feature = "client")]
    pub use crate::{Client, RoomClient};
    #[cfg(feature = "server")]
    pub use crate::{Cx, Flow, FromState, Middleware, Next, RoomHandle, Server};
    pub use crate::{Delivery, Event, EventOf, PerTime, Rate, Refusal, Room, event};
}

/// What the README shows compiles.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../../README.md")]
struct Readme;
