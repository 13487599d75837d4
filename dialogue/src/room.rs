//! Rooms: the traits and options of a declaration. `rooms!` makes one type for each room.

use std::{fmt::Display, str::FromStr, time::Duration};

pub use crate::retention::Retention;
use crate::{
    Rate,
    event::Event,
    notification::{PushEvent, PushSpec},
};

/// A room that [`rooms!`](crate::rooms) declared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dialogue room",
    label = "not a room",
    note = "rooms are declared with `dialogue::rooms!`"
)]
pub trait Room: Send + Sync + Sized + 'static {
    /// The declared name. It is the room's id on the wire, or the part of it before `:` if the room has a key.
    const NAME: &'static str;
    /// The options of `#[room(…)]`.
    const OPTIONS: RoomOptions;
    /// The channels over which the room is served.
    const CHANNELS: &'static [Channel];
    /// The events that the room carries, in the order of their declaration.
    const EVENTS: &'static [Carried<Self>];
    /// The key that distinguishes the room's instances; [`Unkeyed`] if there is only one instance.
    type Key: Key;
    /// The enum of the room's events.
    type Event: Send + 'static;
}

/// An event that room `R` carries. `rooms!` implements it.
#[diagnostic::on_unimplemented(
    message = "room `{R}` does not carry `{Self}`",
    label = "`{Self}` is not an event of room `{R}`",
    note = "to allow it, add `{Self}` to the room's list in `dialogue::rooms!`"
)]
pub trait EventOf<R: Room>: Event {
    /// Returns the event as a variant of the room's enum.
    fn wrap(self) -> R::Event;

    /// Returns the middleware of the event as nested pairs, `(&first, (&second, ()))`: the room's own before the
    /// event's.
    #[cfg(feature = "server")]
    fn middleware_stack(with: &R::Middleware) -> impl crate::middleware::MiddlewareStack<R, Self>
    where
        R: ServerRoom;
}

/// A room with its server-side types: its middleware and the identity that it requires. `rooms!` implements it.
#[cfg(feature = "server")]
pub trait ServerRoom: Room {
    /// The middleware values, one for each entry of the room's `with [..]` lists.
    type Middleware: Send + Sync + 'static;
    /// The identity that the room requires of its callers; a type without values if it requires none.
    type Identity: Send + Sync + 'static;
}

/// A room that is served over channel `C`.
#[diagnostic::on_unimplemented(
    message = "room `{Self}` is not served over `{C}`",
    label = "not in the room's `via [..]` list"
)]
pub trait Via<C>: Room {}

/// A room to which clients may send events.
#[diagnostic::on_unimplemented(
    message = "clients cannot send into room `{Self}`",
    label = "no channel of `{Self}` runs from client to server",
    note = "`sse` and `webpush` only run from server to client; add `websocket` to the room's `via [..]` list"
)]
pub trait TwoWay: Room {}

/// A channel by which events reach clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channel {
    /// A WebSocket: the client sends and receives.
    WebSocket,
    /// Server-Sent Events: the client only receives.
    Sse,
    /// Push notifications, for members without a connection.
    WebPush,
}

/// An entry of [`Room::EVENTS`]: an event's properties, and the function that decodes it.
pub struct Carried<R: Room> {
    pub(crate) kind: EventKind,
    #[cfg_attr(
        not(any(feature = "client", feature = "server")),
        expect(dead_code, reason = "only servers and clients decode events of any type")
    )]
    pub(crate) decode: fn(&str) -> serde_json::Result<R::Event>,
}

impl<R: Room> Carried<R> {
    /// Returns the entry of event `E`.
    pub const fn of<E: EventOf<R>>() -> Self {
        Carried { kind: EventKind::of::<E>(), decode: |json| serde_json::from_str::<E>(json).map(E::wrap) }
    }

    /// Returns the entry of event `E` in a room that is served over `webpush`.
    pub const fn pushed<E: EventOf<R> + PushEvent>() -> Self {
        let mut row = Self::of::<E>();
        row.kind.push = Some(PushSpec::of::<E>());
        row
    }

    /// Returns the properties of the event.
    pub const fn kind(&self) -> &EventKind {
        &self.kind
    }
}

impl<R: Room> std::fmt::Debug for Carried<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

/// The properties of an [`Event`] type, without the type.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct EventKind {
    /// [`Event::NAME`].
    pub name: &'static str,
    /// [`Event::CLASS`].
    pub class: crate::event::DeliveryClass,
    /// [`Event::SENDER`].
    pub sender: crate::event::Sender,
    /// [`Event::SHAPE`].
    pub shape: &'static str,
    /// [`Event::RETENTION`].
    pub retention: Option<Retention>,
    pub(crate) push: Option<PushSpec>,
}

impl EventKind {
    /// Returns the properties of `E`.
    pub const fn of<E: Event>() -> Self {
        EventKind {
            name: E::NAME,
            class: E::CLASS,
            sender: E::SENDER,
            shape: E::SHAPE,
            retention: E::RETENTION,
            push: None,
        }
    }
}

/// The key of a keyed room: `ProjectId` in `project(ProjectId): […]`.
///
/// Every type that implements [`Display`] and [`FromStr`] is a key. Its text is part of the room's id, so that the two
/// implementations must agree: a text that its own value doesn't display (`042` for a number) names no room.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a room",
    label = "not a key",
    note = "a key stands in the room's id as text: implement `std::fmt::Display` and `std::str::FromStr` for `{Self}`"
)]
pub trait Key: Sized + Send + Sync + 'static {
    /// Parses a key from its canonical text. Returns `None` if `text` is not canonical, or is absent for a keyed room.
    fn from_text(text: Option<&str>) -> Option<Self>;

    /// Returns the canonical text; `None` for [`Unkeyed`].
    fn text(&self) -> Option<String>;
}

#[diagnostic::do_not_recommend]
impl<T: Display + FromStr + Send + Sync + 'static> Key for T {
    fn from_text(text: Option<&str>) -> Option<Self> {
        let key: T = text?.parse().ok()?;
        (text == Some(&key.to_string())).then_some(key)
    }

    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// The [`Key`] of a room with one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unkeyed;

impl Key for Unkeyed {
    fn from_text(text: Option<&str>) -> Option<Self> {
        text.is_none().then_some(Unkeyed)
    }

    fn text(&self) -> Option<String> {
        None
    }
}

/// The options of `#[room(…)]`. Its fields hold the declared values; its methods, all `const`, are those by which the
/// macro sets them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RoomOptions {
    /// The name of the room for people.
    pub title: Option<&'static str>,
    /// The purpose of the room, which clients read in lists of rooms.
    pub description: Option<&'static str>,
    /// The maximum of connections in an instance.
    pub capacity: Option<u32>,
    /// The retention of the log.
    pub retention: Retention,
    /// The number of newest events that a join without a position receives as history.
    pub sync: u32,
    /// The names of the events that a join without `events` subscribes to; `None` for all.
    pub subscribe: Option<&'static [&'static str]>,
    /// The grace period of presence: a user has left once it has had no connection for this time. `None` if the room
    /// has no presence.
    pub presence: Option<Duration>,
    /// The role that a user needs to join.
    pub role: Option<&'static str>,
    /// True if the events form a hash chain.
    pub audit: bool,
    /// The time that an event waits while the log can't be written; `None` if it fails at once.
    pub wait: Option<Duration>,
    /// True if each instance has a state of its own.
    pub state: bool,
    /// The rate limit of a client's events, over all instances of the room together.
    pub limit: Option<Rate>,
}

impl RoomOptions {
    /// Returns the default options.
    #[expect(
        clippy::new_without_default,
        reason = "a constant is made with it, and `default` is no `const fn`"
    )]
    pub const fn new() -> Self {
        RoomOptions {
            title: None,
            description: None,
            capacity: None,
            retention: Retention::new(),
            sync: 0,
            subscribe: None,
            presence: None,
            role: None,
            audit: false,
            wait: None,
            state: false,
            limit: None,
        }
    }

    /// Sets the name of the room for people.
    pub const fn title(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// Sets the purpose of the room, which clients read in lists of rooms.
    pub const fn description(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// Sets the maximum of connections in an instance. A further join is refused with `ROOM_FULL`.
    pub const fn capacity(mut self, connections: u32) -> Self {
        self.capacity = Some(connections);
        self
    }

    /// Sets the retention of the log.
    pub const fn retain(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the number of newest events that a join without a position receives as history.
    pub const fn sync(mut self, events: u32) -> Self {
        self.sync = events;
        self
    }

    /// Tells members which users join and leave. A user has left once it has had no connection for `grace`.
    pub const fn presence(mut self, grace: Duration) -> Self {
        self.presence = Some(grace);
        self
    }

    /// Lets only users with this role join.
    pub const fn role(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    /// Gives each event a hash over itself and all events before it (a hash chain), so that a change of the log is
    /// detected.
    pub const fn audit(mut self) -> Self {
        self.audit = true;
        self
    }

    /// Lets events wait while the log can't be written, so that clients don't notice a failover of the store; after
    /// this time they fail. At most 10,000 events or 4 MiB of an instance wait; ephemeral events don't. If the store
    /// hung rather than failed, an event that was sent without a key may be stored twice; Dialogue's clients send a
    /// key.
    pub const fn wait(mut self, time: Duration) -> Self {
        self.wait = Some(time);
        self
    }

    /// Gives each instance a state of its own.
    pub const fn state(mut self) -> Self {
        self.state = true;
        self
    }

    /// Limits the rate of a client's events, over all instances of the room together.
    pub const fn limit(mut self, rate: Rate) -> Self {
        self.limit = Some(rate);
        self
    }

    /// Sets the events that a join without `events` subscribes to.
    pub const fn subscribe(mut self, names: &'static [&'static str]) -> Self {
        self.subscribe = Some(names);
        self
    }
}

/// The types that stand for a [`Channel`] in [`Via`].
pub mod channel {
    /// [`Channel::WebSocket`](super::Channel::WebSocket).
    #[derive(Debug, Clone, Copy)]
    pub struct WebSocket;
    /// [`Channel::Sse`](super::Channel::Sse).
    #[derive(Debug, Clone, Copy)]
    pub struct Sse;
    /// [`Channel::WebPush`](super::Channel::WebPush).
    #[derive(Debug, Clone, Copy)]
    pub struct WebPush;
}
