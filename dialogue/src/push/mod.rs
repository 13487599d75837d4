//! Notifications for people who are not connected.
//!
//! A room that is served over `webpush` pushes its events to devices whose users asked for that and are away. An event is
//! taken up once it is accepted; after a short grace, everybody who is still away is told, through whichever provider
//! their device registered with: browsers' push services (`Vapid`, feature `webpush`), [`Fcm`], [`Apns`], or a [`Provider`] of one's own.
//!
//! | a provider says | what becomes of it |
//! |---|---|
//! | taken | |
//! | the device is no more | its registration is forgotten, but not a newer one |
//! | the token is bad | the device gets nothing for a day, or until it registers again |
//! | not now, or nothing | the device is tried again, after what the provider asks for or a wait that doubles, while the notice is worth being shown |
//! | too much | the device waits as long as it asks for; the others until one of them is taken, which is tried after 2 s, 4 s … |
//! | keys or settings are wrong | logged, and tried again slowly |
//! | the message is bad | logged and given up |
//!
//! Each event makes one chain of tries for each device. Who has a connection in the room, or had one since the event was
//! accepted, needs no push: at this instance, or at any other where a
//! [backplane](crate::ServerBuilder::backplane) joins them. The instance that accepted the event is the one that pushes it.
//!
//! # What outlives what
//!
//! | the process | with a store | without |
//! |---|---|---|
//! | drains | nothing is lost or doubled: the next process goes on | what waits has a few seconds, and all devices are forgotten |
//! | crashes | nothing is lost; what was sent in the last second may be sent again, with the same topic or collapse id where the event has a `collapse` | all is lost |
//!
//! A record says that an event is to be pushed before the event is put into its room, so that a crash in between loses
//! nothing: the next process looks into the room's log, and pushes what is there. Events that are in no log (ephemeral ones)
//! are recorded a moment after they were accepted, and a crash in that moment loses their pushes. A sender that got no answer,
//! and says it again under another key, has said it twice.
//!
//! Where several instances share the store, another one goes on with what a crashed one left, some 15 s after the crash, and
//! with what a drained one left some seconds after. An instance that the others take for gone though it isn't, because it
//! could not reach Redis for long, finds out when it records how far it is, and leaves the rest to them: what both sent
//! until then was sent twice. If no instance is left, the next that starts goes on.
//!
//! # Who may be told
//!
//! A device registers for rooms that its user may join then. Nobody shows a token when an event is pushed, so that roles
//! and the like aren't known: the hook [`before_push`](crate::Hooks::before_push) asks the application each time, and
//! [`forget_devices`](crate::UserHandle::forget_devices) takes a user's devices out at once. Without either, a registration
//! holds until the device unregisters, its provider says that it is no more, or it
//! [expires](Push::expire_after); that of a room which was deleted holds for a new one of the same key.
//!
//! # Devices of strangers
//!
//! A browser's subscription names a service that its user chose, which answers as it likes. First tries go before
//! retries, which have memory of their own. A send that has no answer after 2 s leaves its slot to others; a service
//! that answers none gets fewer sends at a time, down to one. Services that aren't the browsers' own share a part of
//! the sends: an eighth while they gave no answer, a quarter in all once a browser's own answered, and as much again
//! of sends that had no answer after 2 s. Of the pushes that wait for another try, a service has at most as many as
//! are free, and a device 32; beyond, pushes are given up. Browsers' own services are asked again when they say;
//! others after a minute at most.
//!
//! # What it costs others
//!
//! Providers' sends run on a thread of their own (`dialogue-push`), in a runtime of its own: those who are connected don't
//! wait for them.
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
mod quarters;
mod retained;
mod round;
mod router;
mod slots;
#[cfg(test)]
mod takeover_tests;
mod told;
#[cfg(feature = "webpush")]
mod vapid;
mod waiting;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};

pub use apns::Apns;
pub use config::Push;
pub use counts::PushCounts;
pub(crate) use dispatch::{Dispatch, Offer};
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
