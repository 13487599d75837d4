//! Push notifications: events for users who aren't connected.
//!
//! A room that is served over `webpush` pushes its events to the registered devices of users without a connection in
//! it. An event is queued once it is accepted. After a delay
//! ([`PushEvent::AFTER`](crate::notification::PushEvent::AFTER), 5 s by default), each device whose user is still not
//! connected gets the notification, through the provider with which it registered: `Fcm` and `Apns` (feature `push`),
//! browsers' push services (`Vapid`, feature `webpush`), or an application's own [`Provider`].
//!
//! | [`SendOutcome`] | consequence |
//! |---|---|
//! | `Delivered` | |
//! | `Unregistered` | the device's registration is removed, but not a newer one |
//! | `InvalidTarget` | the device gets nothing for a day, or until it registers again |
//! | `Retry`, `Unreachable` | the push is tried again, after the time that the provider names or an exponential backoff, within the notification's TTL |
//! | `Throttled` | the push waits for the time that the provider names; all others until one of them is taken, which is tried after 2 s, 4 s … |
//! | `Misconfigured` | logged, and tried again with a longer backoff |
//! | `Rejected` | logged and given up |
//!
//! There is one job for each event and device, which makes all attempts. A user with a connection in the room, or with
//! one since the event was accepted, needs no push: at this node, or at any other with a
//! [backplane](crate::server::ServerBuilder::backplane). The node that accepted the event pushes it.
//!
//! # After a crash
//!
//! | the process | with a store | without |
//! |---|---|---|
//! | drains | nothing is lost or sent twice: the next process goes on | pushes that wait have 3 s, and all devices are forgotten |
//! | crashes | nothing is lost; what was sent in the last second may be sent again, with the same topic or collapse id where the event has a `collapse` | all is lost |
//!
//! Before an event is appended to its room's log, a record in the store notes that it is to be pushed (a write-ahead
//! record), so that a crash in between loses nothing: the next process looks the event up in the log, and pushes it if
//! it is there. Events that are in no log (ephemeral ones) are recorded a moment after they were accepted, and a crash
//! in that moment loses their pushes. A client that got no acknowledgement, and sends the event again under another
//! idempotency key, has sent two events.
//!
//! With several nodes on one store, another node takes over the pushes of a crashed one some 15 s after the crash, and
//! those of a drained one some seconds after its end. A node that the others took for dead while it could not reach
//! Redis finds out when it next records its progress, and leaves the rest to them: what both sent until then was sent
//! twice. If no node is left, the next that starts goes on.
//!
//! # Authorization
//!
//! A device registers for rooms that its user may join at that time. No token is presented when an event is pushed, so
//! that roles and the like aren't known then. The hook [`before_push`](crate::Hooks::before_push) asks the application
//! each time, and [`forget_devices`](crate::server::UserHandle::forget_devices) removes a user's devices at once.
//! Without either, a registration is valid until the device unregisters, its provider reports that it no longer exists,
//! or it [expires](Push::expire_after). The registration for a deleted room is valid for a new room of the same id.
//!
//! # Hostile push services
//!
//! A browser's subscription names a service of its user's choice, which answers as it likes. First attempts go before
//! retries, which have a memory budget of their own. A send without an answer after 2 s leaves its slot to others; a
//! service that answers none gets fewer sends at a time, down to one. Services that the provider doesn't
//! [know](Provider::is_known_origin), which are all but those of browser vendors, share a part of the sends: an eighth
//! until they answer, a quarter in all once a known service answered, and as much again of sends without an answer after
//! 2 s. Of the pushes that wait for a retry, a service has at most
//! as many places as are free, and a device 32; beyond that, pushes are given up. The `Retry-After` of browser vendors'
//! services is obeyed up to an hour, that of others up to a minute.
//!
//! # Isolation
//!
//! Providers' sends run on a thread of their own (`dialogue-push`) with its own tokio runtime, so that they don't delay
//! connected users.
//!
//! This module depends on no connection or socket. A device's token, a subscription and the providers' keys are never
//! logged.

mod attempt;
mod config;
mod context;
mod counts;
mod cursor;
mod device;
mod device_registry;
mod dispatcher;
mod error;
mod fanout;
mod job;
mod last_seen;
mod memory;
mod pending;
mod queued_event;
mod rate_limited_log;
mod remote_users;
mod retry_budget;
mod retry_queue;
mod runtime;
mod scheduler;
mod slots;
mod takeover;
#[cfg(test)]
mod takeover_tests;
mod worker;

use std::time::{SystemTime, UNIX_EPOCH};

pub use config::Push;
pub(crate) use config::PushSetup;
pub use counts::PushCounts;
pub(crate) use dialogue_core::push::{AnyProvider, topic};
#[doc(inline)]
pub use dialogue_core::push::{
    Provider, PushMessage, PushSubscription, PushTarget, SendOutcome, SubscriptionKeys,
};
#[cfg(feature = "push")]
#[doc(inline)]
pub use dialogue_push::{Apns, Fcm, ProviderError};
#[cfg(feature = "webpush")]
#[doc(inline)]
pub use dialogue_webpush::{Vapid, VapidError};
pub(crate) use dispatcher::{PushDispatcher, PushOffer};
pub(crate) use error::PushError;

/// Returns the time in Unix milliseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
