//! Typed realtime rooms over WebSocket and Server-Sent Events, checked at compile time.
//!
//! Annotate each event with [`#[dialogue::event]`](macro@event), declare the rooms with [`rooms!`], and get an axum
//! router, the middleware of every room and a typed client.
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
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Acme::server().build().await?;
//! let app: axum::Router = axum::Router::new().merge(server.router());
//! let accepted = server.chat().trigger(Message { text: "welcome".into() }).await?;
//! assert_eq!(accepted.seq, Some(1));
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # Guide
//!
//! The module `guide` explains, in one chapter for each subject, how to write, run and operate an application.
//!
#![cfg_attr(feature = "server", doc = include_str!("docs/guide/contents.md"))]
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `server` (default) | the engine, WebSocket, Server-Sent Events and HTTP |
//! | `filter` (default) | `ContentFilter`, by words |
//! | `regex` | `ContentFilter`, by regular expressions |
//! | `http2` | HTTP/2 without TLS beside HTTP/1.1, WebSockets included (RFC 8441), for proxies that speak it to the application |
//! | `client` | the typed client; without `server`, the crate compiles without axum |
//! | `client-tls` | `wss://` and `https://` for the client |
//! | `jwt`, `jwks` | JSON Web Tokens as identities; their keys from a URL |
//! | `disk` | logs in a directory of this machine |
//! | `redis`, `redis-tls` | logs, nodes and quotas over Redis; with TLS |
//! | `push` | notifications for members without a connection, by FCM and APNs; a provider of your own needs no feature |
//! | `webpush` | notifications by browsers' push services; links OpenSSL |
//! | `metrics`, `statsd` | metrics for Prometheus, for StatsD |
//! | `inspector` | a page that shows the rooms, connections and rates of a node |
//! | `testing` | for tests: a suite for a store of your own |
#![cfg_attr(docsrs, feature(doc_cfg))]

// The macros' expansions name `::dialogue`, also in this crate's own doctests and unit tests.
#[allow(unused_extern_crates)]
extern crate self as dialogue;

#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "server")]
mod catch_panic;
#[cfg(feature = "server")]
mod channel;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
mod cluster;
#[cfg(feature = "server")]
mod collections;
#[cfg(feature = "server")]
mod drain;
#[cfg(feature = "server")]
mod engine;
pub mod event;
#[cfg(all(any(doc, doctest), feature = "server"))]
pub mod guide;
#[cfg(feature = "server")]
pub mod hooks;
#[cfg(feature = "server")]
pub mod identity;
#[cfg(feature = "server")]
mod ingest;
#[cfg(feature = "server")]
pub mod limits;
#[cfg(feature = "server")]
mod live;
#[cfg(feature = "server")]
mod log;
#[cfg(feature = "server")]
pub mod middleware;
pub mod notification;
#[cfg(feature = "server")]
pub mod observe;
#[cfg(feature = "server")]
pub mod push;
mod retention;
pub mod room;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
mod session;
#[cfg(all(test, feature = "server"))]
mod simulation;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod validate;
#[cfg(feature = "server")]
mod wall_clock;
pub mod wire;

#[doc(hidden)]
pub mod __private;

#[cfg(feature = "server")]
pub use self::{
    cluster::backplane,
    hooks::{Caller, Hooks, RoomRef},
    identity::Authenticator,
    middleware::{Cx, Flow, Middleware, Next},
    push::Push,
    server::{Error, Result, RoomHandle, Server},
};
#[cfg(feature = "client")]
pub use client::{Client, RoomClient};
#[doc(inline)]
pub use dialogue_core::{PerTime, Rate};
pub use dialogue_macros::{Validate, event};
#[cfg(feature = "redis")]
#[doc(inline)]
pub use dialogue_redis::{self as redis, Redis};
pub use event::{Delivery, Event};
#[cfg(feature = "jwt")]
pub use identity::jwt::Jwt;
pub use room::Room;
pub use validate::Validate;
pub use wire::{Code, Refusal};

/// Declares the rooms of an application.
///
/// ```text
/// rooms = body | "<" body ">" ;
/// body  = [ {attr} [vis] "struct" IDENT ";" ] { room ";" } [ room ] ;
/// room  = {attr} IDENT [ "(" type ")" ] [ "as" IDENT ] ":" "[" event {"," event} "]" { "via" "[" IDENT {"," IDENT} "]" | "with" chain } ;
/// event = path [ "as" IDENT ] [ "with" chain ] ;
/// chain = "[" entry {"," entry} "]" ;
/// entry = type | call | literal | "fn" path | closure ;
/// ```
///
/// An entry of a chain is one of these. The middleware of the server runs first, then the room's, then the event's:
///
/// | entry | meaning |
/// |---|---|
/// | `Type` | made from the server's state (`FromState`), or with `Default` |
/// | `Type::new(..)`, `Type { .. }` | made by this expression: a call of one of the type's own functions or a literal, and methods on it that return the same type |
/// | `fn name` | a function: `async fn name(cx: &Cx<Chat>, event: Message, next: impl Next<Chat, Message>) -> Flow`, or generic as `Middleware` is |
/// | <code>async \|cx, event, next\| ..</code> | a closure |
///
/// A name that begins with a small letter is a function, any other a type.
///
/// | room option | meaning | without |
/// |---|---|---|
/// | `name = "Chat"` | the name for people | the declared name |
/// | `description = "…"`, `description` | the purpose of the room, which clients read in lists: the text, or the first paragraph of the room's doc comment | none |
/// | `capacity = 10_000` | the maximum of connections in an instance | no bound |
/// | `retain(events = 1_000, bytes = 1MiB, age = 7d)` | the retention of the log, by any of these | 1,000 events or 1 MiB |
/// | `retain(forever)` | the log keeps everything; requires a store | |
/// | `audit` | each event carries a hash over itself and all before it | no hashes |
/// | `state = Board` | instances have a state of their own, see `RoomHandle::update` | none |
/// | `sync = 50` | the number of newest events that a join without a position receives as history | none |
/// | `subscribe = [Message]` | the events that a join without `events` subscribes to | all |
/// | `presence`, `presence = 5s` | members receive who joins and leaves; a user has left once it has had no connection for this time | no presence; 2 s |
/// | `role = "member"` | only users with that role may join | every user |
/// | `identity = Member` | only users for whom the `Authenticator` returns a `Member` may join; see `Cx::identity` | every user |
/// | `limit = 10 per 1s`, `limit = 10 per 1s burst 20` | the rate limit of a client's events, over all instances of the room together, and its burst | no limit; the number per time |
/// | `wait = 5s` | the time that events wait while the store can't be written, at most `60s`; see [`RoomOptions::wait`](room::RoomOptions::wait) | they fail at once |
///
/// A room `chat` of an application `Acme` (by default a private `Rooms`) gives the types `Chat`, `ChatEvent` (an enum
/// of its events), `ChatClient`, and the methods `AcmeServer::chat` and `AcmeClient::chat`. If one of these names is
/// taken, by the type of the room's state or key for example, `as` gives them another:
/// `ticket(u64) as TicketRoom: [..]` gives `TicketRoom`, `TicketRoomEvent` and `TicketRoomClient`, while the methods
/// and the room's id on the wire (`ticket:7`) stay.
///
/// The room's doc comment documents its type and its methods. Clients read it only with the option `description`.
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

/// The names that most programs with Dialogue use.
pub mod prelude {
    #[cfg(feature = "filter")]
    pub use crate::middleware::ContentFilter;
    #[cfg(feature = "server")]
    pub use crate::{
        Authenticator, Caller, Cx, Flow, Hooks, Middleware, Next, RoomHandle, RoomRef, Server,
        identity::{AuthError, Authenticated, Credentials},
        middleware::FromState,
        server::NewRoom,
    };
    #[cfg(feature = "client")]
    pub use crate::{Client, RoomClient};
    pub use crate::{Code, Delivery, Event, PerTime, Rate, Refusal, Room, room::EventOf};
    pub use dialogue_macros::event;
}

/// The README's programs compile. They have no hidden lines, so that all features that they use have to be on.
#[cfg(all(
    doctest,
    feature = "client",
    feature = "disk",
    feature = "filter",
    feature = "jwt",
    feature = "metrics",
    feature = "push",
    feature = "redis",
    feature = "server",
))]
#[doc = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", env!("CARGO_PKG_README")))]
struct Readme;
