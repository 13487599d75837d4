//! The trait [`Provider`]: a service that sends pushes to devices, and its answers.

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{notification::Notification, wire::Position};

/// A service that sends pushes to devices: `Vapid` (feature `webpush`), `Fcm` and `Apns` (feature `push`), or an
/// application's own. `Push::provider` takes it.
///
/// A provider makes one attempt and returns its outcome. Queueing, the number of sends at a time, retries, expiry and
/// the device's registration are the server's business.
///
/// Sends run on the push module's own tokio runtime with one thread: code that blocks the thread delays all pushes. A
/// client that was created on another runtime still does its I/O there.
///
/// ```
/// use dialogue::push::{Provider, Push, PushMessage, PushTarget, SendOutcome};
///
/// /// Prints notifications.
/// struct Console;
///
/// impl Provider for Console {
///     fn name(&self) -> &'static str {
///         "console"
///     }
///
///     async fn send(&self, _: &PushTarget, message: &PushMessage<'_>) -> SendOutcome {
///         println!("{}", message.notification.title);
///         SendOutcome::Delivered
///     }
/// }
///
/// let push = Push::new().provider(Console);
/// # let _ = push;
/// ```
pub trait Provider: Send + Sync + 'static {
    /// Returns the name with which devices register, such as `fcm`. It is a part of stored keys: a new name loses all
    /// registrations.
    fn name(&self) -> &'static str;

    /// Returns the maximum of sends at a time: 64 by default.
    fn concurrency(&self) -> usize {
        64
    }

    /// Returns the push service of a device, such as `https://push.example`, if users name the services themselves.
    /// Each service then has bounds of its own, so that one that doesn't answer gets fewer sends at a time and delays
    /// no other's. `None`, the default, stands for a provider with one service.
    fn origin(&self, target: &PushTarget) -> Option<String> {
        let _ = target;
        None
    }

    /// Returns whether an [`origin`](Self::origin) is a push service that the provider knows, and for which no user can
    /// answer: that of a browser vendor. All unknown ones share a part of the sends (see the module `dialogue::push`),
    /// so that one user's many origins delay no others'. `false` by default.
    fn is_known_origin(&self, origin: &str) -> bool {
        let _ = origin;
        false
    }

    /// Returns the public key with which apps subscribe at the push service, as text: for browsers, the VAPID key in
    /// base64url. Clients get it from `GET /push/key`; of several providers with a key, that of the first. `None` by
    /// default.
    fn application_key(&self) -> Option<String> {
        None
    }

    /// Checks whether a device may register with `target`.
    ///
    /// # Errors
    ///
    /// The reason why not, for the client's developer. The registration is refused with `INVALID_REQUEST`.
    fn check(&self, target: &PushTarget) -> Result<(), String> {
        let _ = target;
        Ok(())
    }

    /// Makes one attempt to send a message to a device.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped after 30 s, which counts as [`SendOutcome::Unreachable`], and when the server ends. The
    /// server then makes another attempt if the notification is still worth it, so that a device may get it twice.
    fn send(
        &self,
        target: &PushTarget,
        message: &PushMessage<'_>,
    ) -> impl Future<Output = SendOutcome> + Send;
}

/// The address of a device at its provider.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum PushTarget {
    /// A token that the provider gave to the device.
    Token(String),
    /// A browser's subscription.
    Subscription(PushSubscription),
}

/// A browser's [`PushSubscription`](https://www.w3.org/TR/push-api/#pushsubscription-interface), as its `toJSON()`
/// returns it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PushSubscription {
    /// The URL to which pushes are sent. Users choose it freely.
    pub endpoint: String,
    /// The time at which the subscription expires, in Unix milliseconds, if the browser has set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<u64>,
    /// The keys that encrypt pushes to the browser.
    pub keys: SubscriptionKeys,
}

/// The keys of a [`PushSubscription`], in base64url (RFC 8291).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SubscriptionKeys {
    /// The browser's public key on the curve P-256, uncompressed.
    pub p256dh: String,
    /// The authentication secret, 16 bytes.
    pub auth: String,
}

/// A notification on its way to one device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushMessage<'a> {
    /// The content that the device shows.
    pub notification: &'a Notification,
    /// The id of the event's room.
    pub room_id: &'a str,
    /// The event's name on the wire.
    pub event: &'a str,
    /// The event's position in the room's log: an app that joins with it as `since` gets the events behind it.
    /// Ephemeral events have none.
    pub position: Option<&'a Position>,
    /// The time at which the event was accepted, in Unix milliseconds.
    pub timestamp: u64,
    /// The time for which the notification is still worth being shown.
    pub ttl: Duration,
    /// The key by which a newer notification of the same room replaces this one.
    pub collapse_key: Option<&'a str>,
}

/// The outcome of one attempt to send a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The provider has taken the push.
    Delivered,
    /// The device no longer exists, since this time if the provider names one. Its registration is removed unless it is
    /// newer than that.
    Unregistered(Option<SystemTime>),
    /// The device's token or subscription is invalid, which may be the server's fault. The device gets nothing for a
    /// day, or until it registers again. With the provider's reason.
    InvalidTarget(String),
    /// The provider can't take the push now. The server tries it again, with a backoff from 1 s to 5 min and not before
    /// `after`, up to 12 times within the notification's TTL.
    Retry {
        /// The provider's reason.
        reason: String,
        /// The time to wait at least, if the provider names one.
        after: Option<Duration>,
    },
    /// There was no answer: no connection, or it broke. Tried again like [`Retry`](Self::Retry); the device's service
    /// gets fewer sends at a time. With the reason.
    Unreachable(String),
    /// The provider takes no pushes of this server now. This push waits for `after`; all others until one of them is
    /// taken, which is tried after 2 s, 4 s and so on.
    Throttled {
        /// The provider's reason.
        reason: String,
        /// The time to wait.
        after: Duration,
    },
    /// The provider refuses the server's keys or settings, which an operator has to correct. The server tries the push
    /// again with a backoff from 30 s to 10 min. With the provider's reason.
    Misconfigured(String),
    /// The provider rejects this push for good. It is given up. With the provider's reason.
    Rejected(String),
}

impl<'a> PushMessage<'a> {
    /// Creates the push of an event; for tests of a [`Provider`].
    pub fn new(notification: &'a Notification, room_id: &'a str, event: &'a str, timestamp: u64) -> Self {
        let ttl = notification.ttl;
        PushMessage { notification, room_id, event, position: None, timestamp, ttl, collapse_key: None }
    }
}

impl PushSubscription {
    /// Creates the subscription of a browser, with its keys in base64url.
    pub fn new(endpoint: impl Into<String>, p256dh: impl Into<String>, auth: impl Into<String>) -> Self {
        let keys = SubscriptionKeys { p256dh: p256dh.into(), auth: auth.into() };
        PushSubscription { endpoint: endpoint.into(), expiration_time: None, keys }
    }
}

impl PushTarget {
    /// Returns the token or endpoint, which is unique among the devices of a provider.
    pub fn address(&self) -> &str {
        match self {
            PushTarget::Token(token) => token,
            PushTarget::Subscription(subscription) => &subscription.endpoint,
        }
    }

    /// Returns the time at which the target expires by itself, in Unix milliseconds.
    pub fn expires_at(&self) -> Option<u64> {
        match self {
            PushTarget::Token(_) => None,
            PushTarget::Subscription(subscription) => subscription.expiration_time,
        }
    }
}

/// Shows no token and no subscription: they let anyone push to the device, and identify it.
impl fmt::Debug for PushTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushTarget::Token(_) => f.write_str("Token(…)"),
            PushTarget::Subscription(_) => f.write_str("Subscription(…)"),
        }
    }
}

impl fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl fmt::Debug for SubscriptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionKeys").finish_non_exhaustive()
    }
}
