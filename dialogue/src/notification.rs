//! Notifications: how an event reads to people who are not connected.

use std::time::Duration;

use serde::Serialize;

use crate::Event;

/// An event that can reach people who are not connected: every event of a room that is served over `webpush` is one.
///
/// `#[dialogue::event(push(title = "…", body = "…"))]` implements it. By hand it can say something else to each recipient,
/// in their language for one:
///
/// ```
/// use dialogue::{Notice, Notification, Recipient, Urgency};
///
/// #[dialogue::event(from = server)]
/// pub struct Alert { pub service: String }
///
/// impl Notification for Alert {
///     fn notice(&self, to: &Recipient<'_>) -> Option<Notice> {
///         let title = match to.language() {
///             Some("de") => format!("{} ist ausgefallen", self.service),
///             _ => format!("{} is down", self.service),
///         };
///         Some(Notice::new(title, "").urgency(Urgency::High))
///     }
/// }
///
/// dialogue::rooms! { alerts: [Alert] via [webpush, websocket] }
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't say how it reads as a notification",
    label = "carried by a room that is served over `webpush`",
    note = "say it where the event is declared: `#[dialogue::event(push(title = \"…\", body = \"…\"))]`; or implement `dialogue::Notification` for `{Self}`"
)]
pub trait Notification: Event {
    /// How long somebody who is away has time to come back before it is sent: a reload, or a look at another device, and it
    /// isn't needed.
    const AFTER: Duration = Duration::from_secs(5);

    /// Whom it is for.
    const AUDIENCE: Audience = Audience::Away;

    /// A newer event of its room with the same text takes the place of this one where it isn't delivered yet, or is still
    /// shown. `None` stands by itself.
    fn collapse(&self) -> Option<String> {
        None
    }

    /// What `to` is shown; `None` if that is nothing.
    ///
    /// It may be called more than once for one device, some time after the event and in another process: what it says
    /// depends on the event and the recipient alone.
    fn notice(&self, to: &Recipient<'_>) -> Option<Notice>;
}

/// Who of those that asked for a room's notifications gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Audience {
    /// Users without a connection in the room.
    Away,
    /// Those who are connected, too.
    Everybody,
}

/// Who a notification is for.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    pub(crate) user_id: &'a str,
    pub(crate) language: Option<&'a str>,
    pub(crate) room_id: &'a str,
    pub(crate) from: &'a str,
}

impl<'a> Recipient<'a> {
    /// The user.
    pub fn user_id(&self) -> &'a str {
        self.user_id
    }

    /// The language that the device registered with, as in `navigator.language`: `de`, `pt-BR`.
    pub fn locale(&self) -> Option<&'a str> {
        self.language
    }

    /// The same without its region: `pt` of `pt-BR`.
    pub fn language(&self) -> Option<&'a str> {
        self.language.and_then(|locale| locale.split(['-', '_']).next())
    }

    /// The room that the event is in: `alerts`, `project:42`.
    pub fn room_id(&self) -> &'a str {
        self.room_id
    }

    /// The user that sent the event; `system` for server code.
    pub fn from(&self) -> &'a str {
        self.from
    }
}

/// What somebody is shown.
///
/// A push holds about 3 kB. Of what is longer, the data is left out first, then the end of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// The first line.
    pub title: String,
    /// What stands below.
    pub body: String,
    /// The address of a picture.
    pub icon: Option<String>,
    /// Where a click leads.
    pub url: Option<String>,
    /// Whether a sleeping device is woken.
    pub urgency: Urgency,
    /// How long it is worth being shown, from when the event was accepted: not longer than 28 days. Zero is: now or never.
    pub ttl: Duration,
    /// JSON for the app.
    pub(crate) data: Option<String>,
}

/// Whether a sleeping device is woken for a notification (RFC 8030, section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Urgency {
    /// When it is on power, or awake.
    Low,
    /// As the device sees fit.
    #[default]
    Normal,
    /// At once.
    High,
}

impl Notice {
    /// A notice with these texts, of normal urgency, for a day.
    pub fn new(title: impl Into<String>, body: impl Into<String>) -> Self {
        Notice {
            title: title.into(),
            body: body.into(),
            icon: None,
            url: None,
            urgency: Urgency::Normal,
            ttl: Duration::from_secs(24 * 60 * 60),
            data: None,
        }
    }

    /// With a picture.
    #[must_use]
    pub fn icon(mut self, url: impl Into<String>) -> Self {
        self.icon = Some(url.into());
        self
    }

    /// With somewhere for a click to lead.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self
    }

    /// More or less urgent.
    #[must_use]
    pub fn urgency(mut self, urgency: Urgency) -> Self {
        self.urgency = urgency;
        self
    }

    /// For so long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.min(LONGEST_TTL);
        self
    }

    /// With data for the app; what can't be JSON is left out.
    #[must_use]
    pub fn data<T: Serialize + ?Sized>(mut self, data: &T) -> Self {
        self.data = serde_json::to_string(data).ok();
        self
    }
}

/// FCM's 2,419,200 s; the others have none, or one above.
const LONGEST_TTL: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// What is known of a [`Notification`] without its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pushed {
    /// Renders the event that is this JSON.
    #[cfg_attr(not(feature = "push"), expect(dead_code, reason = "nobody is pushed to"))]
    pub(crate) notice: fn(&str, &Recipient<'_>) -> serde_json::Result<Option<Notice>>,
    /// The text by which a newer one takes its place.
    #[cfg_attr(not(feature = "push"), expect(dead_code, reason = "nobody is pushed to"))]
    pub(crate) collapse: fn(&str) -> Option<String>,
    #[cfg_attr(not(feature = "push"), expect(dead_code, reason = "nobody is pushed to"))]
    pub(crate) after: Duration,
    #[cfg_attr(not(feature = "push"), expect(dead_code, reason = "nobody is pushed to"))]
    pub(crate) audience: Audience,
}

impl Pushed {
    pub(crate) const fn of<E: Notification>() -> Self {
        Pushed {
            notice: |json, to| serde_json::from_str::<E>(json).map(|event| event.notice(to)),
            collapse: |json| serde_json::from_str::<E>(json).ok()?.collapse(),
            after: E::AFTER,
            audience: E::AUDIENCE,
        }
    }
}
