//! What the macros' expansions name. Not public API.

pub use dialogue_macros::__rooms as rooms;
pub use serde;
pub use validator;

use std::fmt;

use crate::{EventOf, Room, wire::Detail};

/// Panics with `message` if an event before `index` has the same wire name as the one there.
#[track_caller]
pub const fn assert_unique<R: Room>(index: usize, message: &str) {
    let mut i = 0;
    while i < index {
        if same(R::EVENTS[i].kind.name, R::EVENTS[index].kind.name) {
            panic!("{}", message);
        }
        i += 1;
    }
}

/// `a == b` for strings, in a constant.
const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// Runs the rules of `#[validate(…)]`; `names` gives the wire names of fields that have another one in Rust.
pub fn check<T: validator::Validate>(event: &T, names: &[(&str, &str)]) -> Result<(), Vec<Detail>> {
    match event.validate() {
        Ok(()) => Ok(()),
        Err(errors) => {
            let mut details = Vec::new();
            crate::wire::details(&errors, "", names, &mut details);
            Err(details)
        }
    }
}

/// The text that newer events of a `latest` class replace older ones by.
pub fn conflation_key<T: ConflationKey>(field: &T) -> String {
    field.to_string()
}

/// A field that `latest = field` may name.
#[diagnostic::on_unimplemented(
    message = "`latest` can't tell events apart by a `{Self}`",
    label = "has no text",
    note = "name a field whose type is `std::fmt::Display`: a string, a number, an id of your own"
)]
pub trait ConflationKey: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<T: fmt::Display> ConflationKey for T {}

/// A field in a text of `push(…)`.
pub fn text<T: Text>(field: &T) -> Shown<'_> {
    Shown(field)
}

/// See [`text`]: not generic, so that a field without text is missed once.
pub struct Shown<'a>(&'a dyn fmt::Display);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A field that a text of `push(…)` may have in it.
#[diagnostic::on_unimplemented(
    message = "a notification can't show a `{Self}`",
    label = "has no text",
    note = "name a field whose type is `std::fmt::Display`; or implement `dialogue::Notification` by hand"
)]
pub trait Text: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<T: fmt::Display> Text for T {}

/// The text by which a newer notification takes the place of an older one.
pub fn collapse_key<T: Text>(field: &T) -> String {
    field.to_string()
}

/// An event of a room's enum: its variant, and the event as JSON, which it has whatever else it derives.
pub fn debug<R: Room, E: EventOf<R>>(f: &mut fmt::Formatter<'_>, variant: &str, event: &E) -> fmt::Result {
    match serde_json::to_string(event) {
        Ok(json) => f.debug_tuple(variant).field(&format_args!("{json}")).finish(),
        Err(_) => f.debug_tuple(variant).finish_non_exhaustive(),
    }
}

/// What the words in `via [..]` stand for; lets an editor resolve them.
#[allow(non_upper_case_globals)]
pub mod via {
    use crate::room::channel;
    /// Two-way: clients may send and receive.
    pub const websocket: channel::WebSocket = channel::WebSocket;
    /// Server to client only.
    pub const sse: channel::Sse = channel::Sse;
    /// Notifications for people who are not connected.
    pub const webpush: channel::WebPush = channel::WebPush;
}

#[cfg(feature = "server")]
mod server {
    use std::future::Future;

    use crate::{Application, Cx, Event, Flow, Next, Room, RoomHandle, Served, Server, ServerBuilder};

    /// `Acme::server()`.
    pub fn server<A: Application>() -> ServerBuilder<A> {
        ServerBuilder::new()
    }

    /// `server.chat()`, `server.project(key)`.
    pub fn handle<R: Served>(server: &Server, key: R::Key) -> RoomHandle<R> {
        RoomHandle::new(server, key)
    }

    /// `with [async |cx, event, next| ..]`: says what the closure is given.
    pub fn call<'a, R, E, N, F, Answer>(closure: F, cx: &'a Cx<R>, event: E, next: N) -> Answer
    where
        R: Room,
        E: Event,
        N: Next<R, E>,
        F: FnOnce(&'a Cx<R>, E, N) -> Answer,
        Answer: Future<Output = Flow>,
    {
        closure(cx, event, next)
    }
}
#[cfg(feature = "server")]
pub use server::{call, handle, server};

#[cfg(feature = "testing")]
pub use crate::testing::store::{
    Sentence as StoreSentence, named as store_sentences, try_store, try_store_at,
};

#[cfg(feature = "client")]
mod client {
    use crate::{Client, Connect, JoinRoom, Room};

    /// `AcmeClient::connect(url)`.
    pub fn connect<C: From<Client>>(url: String) -> Connect<C> {
        Connect::new(url)
    }

    /// `client.chat()`, `client.project(key)`.
    pub fn room<R: Room>(client: &Client, key: R::Key) -> JoinRoom<R> {
        JoinRoom::new(client, key)
    }
}
#[cfg(feature = "client")]
pub use client::{connect, room};
