//! What brings pushes to devices, and what it says of each.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{Notice, Position};

/// A service that brings pushes to devices. `Vapid` (feature `webpush`), [`Fcm`](super::Fcm) and [`Apns`](super::Apns) are some;
/// an application adds its own by [`Push::provider`](super::Push::provider).
///
/// Sends run in a runtime of their own, on one thread: what blocks it keeps all pushes waiting, and what belongs to another
/// runtime (a connection that is driven there) still runs there.
///
/// Queueing, the number of sends at a time, retries, expiry and what becomes of a device are the server's business. A
/// provider makes one try, and says what came of it.
///
/// ```
/// use dialogue::push::{Outcome, Outgoing, Provider, Push, Target};
///
/// /// Reads notifications out.
/// struct Speaker;
///
/// impl Provider for Speaker {
///     fn name(&self) -> &'static str {
///         "speaker"
///     }
///
///     async fn send(&self, _: &Target, push: &Outgoing<'_>) -> Outcome {
///         println!("{}", push.notice.title);
///         Outcome::Delivered
///     }
/// }
///
/// let push = Push::new().provider(Speaker);
/// # let _ = push;
/// ```
pub trait Provider: Send + Sync + 'static {
    /// What devices register with as `provider`: `fcm`. Part of what is stored.
    fn name(&self) -> &'static str;

    /// How many sends may be under way at a time: 64 by default.
    fn concurrency(&self) -> usize {
        64
    }

    /// The service that `target` is at, such as `https://push.example`, where devices are at services that their users
    /// name. Each of those has bounds of its own: one that doesn't answer gets fewer sends at a time, and keeps nobody
    /// else's waiting. `None`, the default, stands for a provider with one service.
    fn origin(&self, target: &Target) -> Option<String> {
        let _ = target;
        None
    }

    /// Whether a device may register as `target`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the client's developer.
    fn check(&self, target: &Target) -> Result<(), String> {
        let _ = target;
        Ok(())
    }

    /// Tries once to send `push` to a device.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped after 30 s, which counts as [`Outcome::Unreachable`], and when the server ends.
    fn send(&self, target: &Target, push: &Outgoing<'_>) -> impl Future<Output = Outcome> + Send;
}

/// Where a device is reached.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Target {
    /// By a token that its provider gave it.
    Token(String),
    /// By what a browser's `pushManager.subscribe` yields.
    Subscription(Subscription),
}

/// A browser's `PushSubscription`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Subscription {
    /// The URL that pushes go to: a stranger's text.
    pub endpoint: String,
    /// When it ends, in Unix milliseconds, if the browser said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<u64>,
    /// What pushes are encrypted with.
    pub keys: Keys,
}

/// The keys of a [`Subscription`], in base64url.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Keys {
    /// The device's public key.
    pub p256dh: String,
    /// A secret that it shares with its servers.
    pub auth: String,
}

/// One push, for one device.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Outgoing<'a> {
    /// What is to be shown.
    pub notice: &'a Notice,
    /// The room that the event is in.
    pub room_id: &'a str,
    /// The event's name on the wire.
    pub event: &'a str,
    /// Where it stands in the room's log: who joins with this as `since` gets what came after. Ephemeral events have none.
    pub position: Option<&'a Position>,
    /// When it was accepted, in Unix milliseconds.
    pub timestamp: u64,
    /// How long it is still worth being shown.
    pub ttl: Duration,
    /// In one room, a newer one with the same text takes its place.
    pub collapse: Option<&'a str>,
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The provider has it.
    Delivered,
    /// The device is no more, since that time if the provider tells: it is forgotten, unless it registered again meanwhile.
    Gone(Option<SystemTime>),
    /// Something is wrong with the device's token, which may be the server's fault: it gets nothing until it registers again.
    Suspend(String),
    /// Not now: again for this device, after that time if the provider tells.
    Retry {
        /// The provider's reason.
        reason: String,
        /// Not before.
        after: Option<Duration>,
    },
    /// No answer: there is no connection, or it broke. Tried again like [`Retry`](Self::Retry); the service that the device
    /// is at gets fewer sends at a time.
    Unreachable(String),
    /// Nobody's pushes are taken now: this one waits for that time, and all others until one that is tried from time to
    /// time is taken, after 2 s and then twice as long each time.
    Throttled {
        /// The provider's reason.
        reason: String,
        /// Not before.
        after: Duration,
    },
    /// The provider doesn't take the server for who it is, or not for this: somebody has to mend that. Tried again, slowly.
    Misconfigured(String),
    /// It won't take this push, now or later.
    Rejected(String),
}

impl Target {
    /// What tells this device from others of its provider.
    pub(crate) fn address(&self) -> &str {
        match self {
            Target::Token(token) => token,
            Target::Subscription(subscription) => &subscription.endpoint,
        }
    }

    /// When it ends by itself, in Unix milliseconds.
    pub(crate) fn expires(&self) -> Option<u64> {
        match self {
            Target::Token(_) => None,
            Target::Subscription(subscription) => subscription.expiration_time,
        }
    }
}

/// A [`Provider`] without its type.
pub(crate) trait AnyProvider: Send + Sync {
    fn name(&self) -> &'static str;

    fn concurrency(&self) -> usize;

    fn origin(&self, target: &Target) -> Option<String>;

    fn check(&self, target: &Target) -> Result<(), String>;

    fn send<'a>(
        &'a self,
        target: &'a Target,
        push: &'a Outgoing<'a>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;
}

impl<T: Provider> AnyProvider for T {
    fn name(&self) -> &'static str {
        Provider::name(self)
    }

    fn concurrency(&self) -> usize {
        Provider::concurrency(self).max(1)
    }

    fn origin(&self, target: &Target) -> Option<String> {
        Provider::origin(self, target)
    }

    fn check(&self, target: &Target) -> Result<(), String> {
        Provider::check(self, target)
    }

    fn send<'a>(
        &'a self,
        target: &'a Target,
        push: &'a Outgoing<'a>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>> {
        Box::pin(Provider::send(self, target, push))
    }
}

/// Whoever has a token or a subscription can push to the device, or tell it from others.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Token(_) => f.write_str("Token(…)"),
            Target::Subscription(_) => f.write_str("Subscription(…)"),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
