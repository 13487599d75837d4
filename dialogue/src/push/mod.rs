//! Notifications for people who are not connected.
//!
//! A room that is served over `webpush` pushes its events to devices whose users asked for that and are away. An event is
//! taken up once it is accepted; after a short grace, everybody who is still away is told, through whichever provider
//! their device registered with: browsers' push services ([`Vapid`]), [`Fcm`], [`Apns`], or a [`Provider`] of one's own.
//!
//! | a provider says | what becomes of it |
//! |---|---|
//! | taken | |
//! | the device is no more | its registration is forgotten, but not a newer one |
//! | the token is bad | the device gets nothing for a day, or until it registers again |
//! | not now | the device is tried again, after what the provider asks for or a wait that doubles, while the notice is worth being shown |
//! | too much | all of its devices wait as long as it asks for |
//! | keys or settings are wrong | logged, and tried again slowly |
//! | the message is bad | logged and given up |
//!
//! Each event makes one chain of tries for each device. Where the server has a store, devices and what is on its way outlive
//! the process: a server that drains loses and doubles nothing, and one that crashes may send again what it sent in its last
//! second. Without a store, a server that drains gives what waits a few seconds, and a restart forgets all devices.
//!
//! Nothing in here knows a socket; a device's token, a subscription and the providers' keys are never logged.

mod apns;
mod chain;
mod complaints;
mod config;
mod counts;
mod departures;
mod device;
mod devices;
mod dispatch;
mod elsewhere;
#[cfg(feature = "webpush")]
mod endpoint;
mod error;
mod fcm;
mod heir;
mod http;
mod jws;
mod lane;
mod payload;
mod pending;
mod provider;
mod round;
mod router;
mod told;
#[cfg(feature = "webpush")]
mod vapid;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

pub use apns::Apns;
pub use config::Push;
pub use counts::PushCounts;
pub(crate) use dispatch::Dispatch;
pub use error::PushError;
pub use fcm::Fcm;
pub use provider::{Keys, Outcome, Outgoing, Provider, Subscription, Target};
#[cfg(feature = "webpush")]
pub use vapid::Vapid;

use crate::Urgency;

/// What providers tell notices apart by that take each other's place: 32 characters of base64url (RFC 8030, section 5.4;
/// others take longer ones).
fn topic(room_id: &str, collapse: &str) -> String {
    let hash = digest(&SHA256, format!("{room_id}\0{collapse}").as_bytes());
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..24).unwrap_or_default())
}

/// The `Urgency` header (RFC 8030, section 5.3).
fn urgency(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Low => "low",
        Urgency::Normal => "normal",
        Urgency::High => "high",
    }
}

/// Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
