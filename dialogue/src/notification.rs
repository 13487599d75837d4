//! Notifications: the text that an event shows to users who aren't connected. The `push(…)` option of
//! `#[dialogue::event]` implements [`PushEvent`]; the push module renders and sends its [`Notification`]s.

use std::time::Duration;

#[doc(inline)]
pub use dialogue_core::notification::{Notification, Urgency};

use crate::Event;

/// An event that can be pushed as a notification to users who aren't connected. Every event of a room that is served
/// over `webpush` has to implement it.
///
/// `#[dialogue::event(push(title = "…", body = "…"))]` implements it. An implementation by hand can depend on the
/// recipient, on their language for example:
///
/// ```
/// use dialogue::notification::{Notification, PushEvent, Recipient, Urgency};
///
/// #[dialogue::event(from = server)]
/// pub struct Alert { pub service: String }
///
/// impl PushEvent for Alert {
///     fn notification(&self, to: &Recipient<'_>) -> Option<Notification> {
///         let title = match to.language() {
///             Some("de") => format!("{} ist ausgefallen", self.service),
///             _ => format!("{} is down", self.service),
///         };
///         Some(Notification::new(title, "").urgency(Urgency::High))
///     }
/// }
///
/// dialogue::rooms! { alerts: [Alert] via [webpush, websocket] }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be pushed as a notification",
    label = "carried by a room that is served over `webpush`",
    note = "declare its texts on the event: `#[dialogue::event(push(title = \"…\", body = \"…\"))]`; or implement `dialogue::notification::PushEvent` for `{Self}`"
)]
pub trait PushEvent: Event {
    /// The time between the event and the first attempts to push it: 5 s by default. A user who reloads the page or
    /// looks at another device within this time needs no notification.
    const AFTER: Duration = Duration::from_secs(5);

    /// The users who get the notification: by default, those without a connection in the room.
    const AUDIENCE: Audience = Audience::Disconnected;

    /// Returns the key by which a newer event of the same room replaces this one's notification, while that isn't
    /// delivered or is still shown. `None`, the default, replaces nothing.
    fn collapse_key(&self) -> Option<String> {
        None
    }

    /// Returns the notification for a recipient; `None` if they get none.
    ///
    /// It may be called several times for a device, some time after the event and in another process. It should depend
    /// on the event and the recipient only.
    fn notification(&self, to: &Recipient<'_>) -> Option<Notification>;
}

/// The users among those registered for a room's notifications who get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Audience {
    /// Users without a connection in the room.
    Disconnected,
    /// All users.
    All,
}

/// The user that a notification is for, and the event's origin.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    pub(crate) user_id: &'a str,
    pub(crate) language: Option<&'a str>,
    pub(crate) room_id: &'a str,
    pub(crate) from: &'a str,
}

impl<'a> Recipient<'a> {
    /// Returns the user's id.
    pub fn user_id(&self) -> &'a str {
        self.user_id
    }

    /// Returns the locale with which the device registered, as in `navigator.language`: `de`, `pt-BR`.
    pub fn locale(&self) -> Option<&'a str> {
        self.language
    }

    /// Returns the locale without its region: `pt` of `pt-BR`.
    pub fn language(&self) -> Option<&'a str> {
        self.language.and_then(|locale| locale.split(['-', '_']).next())
    }

    /// Returns the id of the event's room: `alerts`, `project:42`.
    pub fn room_id(&self) -> &'a str {
        self.room_id
    }

    /// Returns the id of the user that sent the event; `system` for server code.
    pub fn from(&self) -> &'a str {
        self.from
    }
}

/// The functions and constants of a [`PushEvent`], without its type.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "server"),
    expect(dead_code, reason = "only the module `push` of the server reads it")
)]
pub(crate) struct PushSpec {
    /// Decodes an event from JSON, and returns its notification for a recipient.
    pub(crate) render: fn(&str, &Recipient<'_>) -> serde_json::Result<Option<Notification>>,
    /// Decodes an event from JSON, and returns its collapse key.
    pub(crate) collapse_key: fn(&str) -> Option<String>,
    pub(crate) after: Duration,
    pub(crate) audience: Audience,
}

impl PushSpec {
    pub(crate) const fn of<E: PushEvent>() -> Self {
        PushSpec {
            render: |json, to| serde_json::from_str::<E>(json).map(|event| event.notification(to)),
            collapse_key: |json| serde_json::from_str::<E>(json).ok()?.collapse_key(),
            after: E::AFTER,
            audience: E::AUDIENCE,
        }
    }
}
