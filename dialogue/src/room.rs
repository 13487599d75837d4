//! Rooms: where events happen. `rooms!` makes one type for each.

use std::{fmt::Display, str::FromStr, time::Duration};

use crate::{
    event::Event,
    notification::{Notification, Pushed},
    rate::Rate,
};

/// A room that [`rooms!`](crate::rooms) declared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dialogue room",
    label = "not a room",
    note = "rooms are declared with `dialogue::rooms!`"
)]
pub trait Room: Send + Sync + Sized + 'static {
    /// The declared name, which is the room's id on the wire, or its beginning when the room has a key.
    const NAME: &'static str;
    /// The options of `#[room(…)]`.
    const OPTIONS: RoomOptions;
    /// How its events reach people.
    const CHANNELS: &'static [Channel];
    /// The events it carries, in the order of their declaration.
    const EVENTS: &'static [Carried<Self>];
    /// What tells one instance of the room from another; [`Unkeyed`] when there is only one.
    type Key: Key;
    /// Any event of the room.
    type Event: Send + 'static;
}

/// An event that room `R` carries. `rooms!` implements it.
#[diagnostic::on_unimplemented(
    message = "room `{R}` does not carry `{Self}`",
    label = "`{Self}` is not an event of room `{R}`",
    note = "to allow it, add `{Self}` to the room's list in `dialogue::rooms!`"
)]
pub trait EventOf<R: Room>: Event {
    /// The event as the room's own enum.
    fn wrap(self) -> R::Event;

    /// The middleware in front of it, `(&first, (&second, ()))`: the room's own before the event's.
    #[cfg(feature = "server")]
    fn middleware_stack(with: &R::Middleware) -> impl crate::MiddlewareStack<R, Self>
    where
        R: crate::ServerRoom;
}

/// A room that is served over channel `C`.
#[diagnostic::on_unimplemented(
    message = "room `{Self}` is not served over `{C}`",
    label = "not in the room's `via [..]` list"
)]
pub trait Via<C>: Room {}

/// A room whose clients may send into it.
#[diagnostic::on_unimplemented(
    message = "clients cannot send into room `{Self}`",
    label = "no channel of `{Self}` runs from client to server",
    note = "`sse` and `webpush` only run from server to client; add `websocket` to the room's `via [..]` list"
)]
pub trait TwoWay: Room {}

/// How events reach people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channel {
    /// Both ways, over one socket.
    WebSocket,
    /// Server-Sent Events: from server to client.
    Sse,
    /// Notifications for people who are not connected.
    WebPush,
}

/// One row of [`Room::EVENTS`].
pub struct Carried<R: Room> {
    pub(crate) kind: EventKind,
    #[cfg_attr(
        not(any(feature = "client", feature = "server")),
        expect(dead_code, reason = "whoever reads events of any kind reads them through it")
    )]
    pub(crate) decode: fn(&str) -> serde_json::Result<R::Event>,
}

impl<R: Room> Carried<R> {
    /// The row of event `E`.
    pub const fn of<E: EventOf<R>>() -> Self {
        Carried { kind: EventKind::of::<E>(), decode: |json| serde_json::from_str::<E>(json).map(E::wrap) }
    }

    /// The row of event `E` in a room that is served over `webpush`.
    pub const fn pushed<E: EventOf<R> + Notification>() -> Self {
        let mut row = Self::of::<E>();
        row.kind.push = Some(Pushed::of::<E>());
        row
    }

    /// What is known of the event without its type.
    pub const fn kind(&self) -> &EventKind {
        &self.kind
    }
}

impl<R: Room> std::fmt::Debug for Carried<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kind.fmt(f)
    }
}

/// What is known of an [`Event`] without its type.
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
    pub(crate) push: Option<Pushed>,
}

impl EventKind {
    /// What is known of `E`.
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
/// Whatever is [`Display`] and [`FromStr`] is one. The text goes into the room's id, so that the two must agree: a text
/// that is not what its own value displays (`042` for a number) names no room.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a room",
    label = "not a key",
    note = "a key stands in the room's id as text: implement `std::fmt::Display` and `std::str::FromStr` for `{Self}`"
)]
pub trait Key: Sized + Send + Sync + 'static {
    /// The value that `text` is the canonical text of; `None` where there is none.
    fn from_text(text: Option<&str>) -> Option<Self>;

    /// The canonical text; `None` for [`Unkeyed`].
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

/// The [`Key`] of a room that has none.
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

/// What `#[room(…)]` says of a room. The fields hold what was declared; the methods, all `const`, are what the macro
/// declares it with.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RoomOptions {
    /// The name for people.
    pub title: Option<&'static str>,
    /// The purpose of the room, which clients are told in lists of rooms.
    pub description: Option<&'static str>,
    /// How many connections an instance holds at most.
    pub capacity: Option<u32>,
    /// What the log keeps.
    pub retention: Retention,
    /// How many of the last events a fresh join is sent as history.
    pub sync: u32,
    /// The wire names subscribed by default; `None` is all.
    pub subscribe: Option<&'static [&'static str]>,
    /// Whether members are told of each other, and after which grace somebody is gone.
    pub presence: Option<Duration>,
    /// The role that a user must have to be in.
    pub role: Option<&'static str>,
    /// Whether its events are chained by their hashes.
    pub audit: bool,
    /// How long an event waits while the log can't be written, before it fails; `None`: not at all.
    pub wait: Option<Duration>,
    /// Whether an instance has a state of its own.
    pub state: bool,
    /// How often a client may put events into its instances, all together.
    pub limit: Option<Rate>,
}

impl RoomOptions {
    /// The defaults.
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

    /// The name for people.
    pub const fn title(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    /// Sets the description of the room, which clients are told in lists of rooms.
    pub const fn description(mut self, description: &'static str) -> Self {
        self.description = Some(description);
        self
    }

    /// At most so many connections in an instance.
    pub const fn capacity(mut self, connections: u32) -> Self {
        self.capacity = Some(connections);
        self
    }

    /// What the log keeps.
    pub const fn retain(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// A fresh join is sent so many of the last events as history.
    pub const fn sync(mut self, events: u32) -> Self {
        self.sync = events;
        self
    }

    /// Members are told who comes and goes; somebody whose last connection went is gone after `grace`.
    pub const fn presence(mut self, grace: Duration) -> Self {
        self.presence = Some(grace);
        self
    }

    /// Only users with this role may be in.
    pub const fn role(mut self, role: &'static str) -> Self {
        self.role = Some(role);
        self
    }

    /// Each event carries a hash over itself and all before it, so that a change of the log is found.
    pub const fn audit(mut self) -> Self {
        self.audit = true;
        self
    }

    /// While the log can't be written, events wait so long before they fail: over a failover of the store, nobody is told of
    /// it. At most 10,000 of an instance wait, or 4 MiB of them; and those that are ephemeral don't. An event that was sent
    /// without a key may come twice if the store hung instead of failing; Dialogue's clients send one.
    pub const fn wait(mut self, time: Duration) -> Self {
        self.wait = Some(time);
        self
    }

    /// Each instance has a state of its own.
    pub const fn state(mut self) -> Self {
        self.state = true;
        self
    }

    /// A client may put events into the room's instances, all together, so often.
    pub const fn limit(mut self, rate: Rate) -> Self {
        self.limit = Some(rate);
        self
    }

    /// The events that a join without `events` subscribes to.
    pub const fn subscribe(mut self, names: &'static [&'static str]) -> Self {
        self.subscribe = Some(names);
        self
    }
}

/// What a room's log keeps; whichever bound is reached first trims it.
///
/// With no bound named, a log keeps 1,000 events or 1 MiB: enough for a client to come back from a tunnel. With only an
/// age, it keeps 100,000 events or 64 MiB, so that a busy week doesn't take all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// At most so many events.
    pub events: Option<u64>,
    /// At most so many bytes of encoded events.
    pub bytes: Option<u64>,
    /// Nothing older.
    pub age: Option<Duration>,
    /// Everything, for ever.
    pub forever: bool,
}

impl Retention {
    /// No bound named.
    #[expect(
        clippy::new_without_default,
        reason = "a constant is made with it, and `default` is no `const fn`"
    )]
    pub const fn new() -> Self {
        Retention { events: None, bytes: None, age: None, forever: false }
    }

    /// At most so many events.
    pub const fn events(mut self, events: u64) -> Self {
        self.events = Some(events);
        self
    }

    /// At most so many bytes of encoded events.
    pub const fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Nothing older than `age`.
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Everything, for ever: for a log that is to be audited. It takes a server with a store.
    pub const fn forever(mut self) -> Self {
        self.forever = true;
        self
    }

    /// The bounds in events and bytes that hold.
    #[cfg(feature = "server")]
    pub(crate) fn bounds(&self) -> (u64, u64) {
        match (self.events, self.bytes, self.age) {
            _ if self.forever => (u64::MAX, u64::MAX),
            (None, None, None) => (1_000, 1 << 20),
            (None, None, Some(_)) => (100_000, 64 << 20),
            (events, bytes, _) => (events.unwrap_or(u64::MAX), bytes.unwrap_or(u64::MAX)),
        }
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
