//! Items that the macros' expansions name. They are no public API.

pub use dialogue_macros::{__rooms as rooms, Validate};
pub use serde;

pub mod validate;

use std::fmt;

#[cfg(feature = "client")]
pub use crate::client::expansion::*;
#[cfg(feature = "server")]
pub use crate::server::expansion::*;
use crate::{
    room::{EventOf, Room},
    validate::Violations,
    wire::Detail,
};

/// Panics with `message` if an event before `index` has the same wire name as the event at `index`.
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

/// Panics with `message` if the event at `index` has the name of one of `EventSource`'s own events.
#[track_caller]
pub const fn assert_streamable<R: Room>(index: usize, message: &str) {
    let name = R::EVENTS[index].kind.name;
    if same(name, "error") || same(name, "open") {
        panic!("{}", message);
    }
}

/// Returns whether two strings are equal, in a constant.
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

/// Returns whether all fields of an event are of types that survive a round trip through JSON: see
/// [`Event::READS_BACK`](crate::Event::READS_BACK).
pub const fn all(fields: &[bool]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if !fields[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// A type of which every value survives a round trip through its own JSON.
pub trait ReadBack {}

macro_rules! read_back {
    ($($ty:ty),*) => { $(impl ReadBack for $ty {})* };
}

read_back!(bool, char, u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, String, Box<str>);

impl<T: ReadBack> ReadBack for Option<T> {}
impl<T: ReadBack> ReadBack for Vec<T> {}
impl<T: ReadBack> ReadBack for Box<T> {}

/// Tells whether `T` is [`ReadBack`]: the inherent constant takes precedence over that of [`MayDiffer`], which every
/// type has (specialisation by inherent items).
#[derive(Debug)]
pub struct Field<T>(std::marker::PhantomData<T>);

impl<T: ReadBack> Field<T> {
    pub const READS_BACK: bool = true;
}

/// The constant of types that aren't [`ReadBack`]: see [`Field`].
pub trait MayDiffer {
    const READS_BACK: bool = false;
}

impl<T> MayDiffer for Field<T> {}

/// Validates an event by its rules.
pub fn check<T: crate::Validate>(event: &T) -> Result<(), Vec<Detail>> {
    Violations::of(event).into_result()
}

/// Returns the key of an event of class `latest`: a newer event of the same key replaces an older one.
pub fn conflation_key<T: ConflationKey>(field: &T) -> String {
    field.to_string()
}

/// A type that the field of `latest = field` may have.
#[diagnostic::on_unimplemented(
    message = "`latest` can't tell events apart by a `{Self}`",
    label = "has no text",
    note = "name a field whose type is `std::fmt::Display`: a string, a number, an id of your own"
)]
pub trait ConflationKey: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<T: fmt::Display> ConflationKey for T {}

/// Returns a field as it is shown in a text of `push(…)`.
pub fn text<T: NotificationText>(field: &T) -> Shown<'_> {
    Shown(field)
}

/// A field in a text of `push(…)`. It isn't generic, so that rustc reports a field without a text once.
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

/// A type that a field in a text of `push(…)` may have.
#[diagnostic::on_unimplemented(
    message = "a notification can't show a `{Self}`",
    label = "has no text",
    note = "name a field whose type is `std::fmt::Display`; or implement `dialogue::notification::PushEvent` by hand"
)]
pub trait NotificationText: fmt::Display {}

#[diagnostic::do_not_recommend]
impl<T: fmt::Display> NotificationText for T {}

/// Returns the collapse key of a notification: a newer one of the same key replaces it.
pub fn collapse_key<T: NotificationText>(field: &T) -> String {
    field.to_string()
}

/// Formats an event of a room's enum: its variant, and the event as JSON, since it need not implement `Debug`.
pub fn debug<R: Room, E: EventOf<R>>(f: &mut fmt::Formatter<'_>, variant: &str, event: &E) -> fmt::Result {
    match serde_json::to_string(event) {
        Ok(json) => f.debug_tuple(variant).field(&format_args!("{json}")).finish(),
        Err(_) => f.debug_tuple(variant).finish_non_exhaustive(),
    }
}

/// The words in `via [..]` as constants, by which an editor completes and explains them.
#[allow(non_upper_case_globals)]
pub mod via {
    use crate::room::channel;
    /// A WebSocket: the client sends and receives.
    pub const websocket: channel::WebSocket = channel::WebSocket;
    /// Server-Sent Events: the client only receives.
    pub const sse: channel::Sse = channel::Sse;
    /// Push notifications, for members without a connection.
    pub const webpush: channel::WebPush = channel::WebPush;
}
