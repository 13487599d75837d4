//! One attempt of a job: it checks that the push is still wanted, sends it, and applies the provider's answer to the
//! device.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{
    AnyProvider, PushMessage, PushTarget, SendOutcome,
    context::PushContext,
    device::{DeviceRecord, RegistrationId},
    job::PushJob,
    remote_users,
    slots::{SLOW_AFTER, SendSlot, SendSlots},
};
use crate::{Code, hooks::RoomRef, notification::Recipient, observe::spans};

/// The outcome of one attempt, after its consequences for the device.
#[derive(Debug)]
pub(super) enum AttemptOutcome {
    /// The provider has taken the push.
    Delivered,
    /// No push is needed: the user was in the room since the event was accepted, or the fan-out is superseded.
    Cancelled,
    /// The push is given up: too many attempts, or the notification's TTL is over.
    Expired,
    /// There is nothing to send: the device isn't registered any more, or the event has no notification for this
    /// recipient.
    Skipped,
    /// The hook `before_push` refused: the user gets no more of the room's notifications.
    Withdrawn,
    /// The device no longer exists, and its registration was removed.
    Forgotten,
    /// The device's token is invalid, and it gets nothing for a day.
    Suspended,
    /// The provider doesn't take this push.
    Rejected,
    /// The push is to be tried again at this time.
    Retry(Instant),
    /// Likewise, and the provider is to get no other push before this time either.
    Throttled(Instant),
    /// The attempt did not begin, since the device can't be read from the store.
    StoreUnavailable,
}

/// An exponential backoff with jitter: the first wait, and the longest.
#[derive(Debug, Clone, Copy)]
struct BackoffBounds {
    first: Duration,
    longest: Duration,
}

/// The longest time that a provider that throttles may name. A longer one is its mistake.
const MAX_THROTTLE: Duration = Duration::from_secs(60 * 60);
/// The time that a provider has for one send.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that the hook `before_push` has.
const HOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of attempts after which a push is given up.
const MAX_ATTEMPTS: u32 = 12;
/// After an attempt that failed.
const RETRY_BACKOFF: BackoffBounds =
    BackoffBounds { first: Duration::from_secs(1), longest: Duration::from_secs(300) };
/// While the device's service has no free send slot.
const DEFERRAL_BACKOFF: BackoffBounds =
    BackoffBounds { first: Duration::from_millis(500), longest: Duration::from_secs(300) };
/// After an attempt that failed because of the provider's settings or keys, which an operator has to correct.
const MISCONFIGURED_BACKOFF: BackoffBounds =
    BackoffBounds { first: Duration::from_secs(30), longest: Duration::from_secs(600) };
/// The age at which a push with a TTL of 0 (now or never) is given up while it waits for a send slot.
const MAX_DEFERRED_AGE: Duration = Duration::from_secs(30);
/// With less time than this left, a job doesn't wait for a send slot.
const MIN_DEFERRAL: Duration = Duration::from_millis(50);

impl PushJob {
    /// Makes one attempt: checks that the push is still wanted, sends it, and applies the provider's answer to the
    /// device.
    pub(super) async fn attempt(
        &mut self,
        context: &PushContext,
        slots: &SendSlots,
        provider: &dyn AnyProvider,
    ) -> AttemptOutcome {
        if self.fanout.is_superseded() || self.is_seen(context).await {
            return AttemptOutcome::Cancelled;
        }
        let (registration, device) =
            match context.devices.current(&self.registration, &self.fanout.room_id).await {
                Ok(Some(current)) => current,
                Ok(None) => return AttemptOutcome::Skipped,
                Err(error) => {
                    tracing::warn!(%error, "can't read a device from the store; pushes wait");
                    return AttemptOutcome::StoreUnavailable;
                }
            };
        if let Some(outcome) = self.check_allowed(context, provider.name(), &registration).await {
            return outcome;
        }
        let fanout = &self.fanout;
        let recipient = Recipient {
            user_id: &device.user_id,
            language: device.language.as_deref(),
            room_id: &fanout.room_id,
            from: &fanout.event.from,
        };
        let notification = match (fanout.spec.render)(&fanout.event.data, &recipient) {
            Ok(Some(notification)) => notification,
            Ok(None) => return AttemptOutcome::Skipped,
            Err(error) => {
                tracing::error!(event = fanout.event_name, %error, "can't decode an event from its own JSON");
                return AttemptOutcome::Skipped;
            }
        };
        // A push with a TTL of 0 has one attempt.
        let remaining = notification
            .ttl
            .checked_sub(fanout.age())
            .or((self.attempts == 0 && notification.ttl.is_zero()).then_some(Duration::ZERO));
        let Some(ttl) = remaining else { return AttemptOutcome::Expired };
        let (room_id, timestamp) = (&fanout.room_id, fanout.event.accepted.timestamp);
        let mut message = PushMessage::new(&notification, room_id, fanout.event_name, timestamp);
        (message.position, message.ttl) = (fanout.position(), ttl);
        message.collapse_key = fanout.collapse_key.as_deref();
        self.origin = provider.origin(&device.target).map(Arc::from);
        let slot = match &self.origin {
            None => None,
            Some(origin) => match slots.enter(origin) {
                Some(slot) => Some(slot),
                None => {
                    let is_now_or_never = notification.ttl.is_zero();
                    let remaining = match is_now_or_never {
                        true => MAX_DEFERRED_AGE.saturating_sub(self.fanout.age()),
                        false => ttl,
                    };
                    return self.defer(remaining);
                }
            },
        };
        self.attempts += 1;
        let span = spans::push(provider.name(), &fanout.room_id, &fanout.event.accepted.event_id);
        let sent = send(provider, &device.target, &message, slot).instrument(span.clone()).await;
        let outcome = sent.unwrap_or_else(|| SendOutcome::Unreachable("no answer in time".to_owned()));
        span.record("delivered", matches!(outcome, SendOutcome::Delivered));
        self.conclude(context, provider.name(), outcome, ttl, &registration, &device).await
    }

    /// Runs the hook `before_push`; returns the attempt's outcome if the user may not get the push, or not now.
    async fn check_allowed(
        &mut self,
        context: &PushContext,
        provider: &'static str,
        registration: &RegistrationId,
    ) -> Option<AttemptOutcome> {
        let (hooks, fanout) = (context.hooks.as_ref()?, &self.fanout);
        let room = RoomRef { id: &fanout.room_id, name: fanout.room_name };
        let refusal = match timeout(HOOK_TIMEOUT, hooks.before_push(&self.registration.user_id, room)).await {
            Ok(Ok(())) => return None,
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => None,
        };
        let code = refusal.map(|refusal| refusal.code);
        if code.is_none_or(|code| matches!(code, Code::Unavailable | Code::Internal)) {
            context.log.warn(
                provider,
                "can't check whether a user still gets pushes",
                "`before_push` failed",
            );
            self.attempts += 1;
            return Some(match self.attempts >= MAX_ATTEMPTS {
                true => AttemptOutcome::Expired,
                false => AttemptOutcome::Retry(Instant::now() + RETRY_BACKOFF.after(self.attempts)),
            });
        }
        if let Err(error) = context.devices.remove_room(registration, &fanout.room_id).await {
            tracing::warn!(%error, "can't take a device out of a room; `before_push` is called again");
        }
        Some(AttemptOutcome::Withdrawn)
    }

    /// Returns whether the user was connected to the room since the event was accepted, at this node or another.
    async fn is_seen(&self, context: &PushContext) -> bool {
        let (user_id, fanout) = (&self.registration.user_id, &self.fanout);
        let was_at_this_node = || {
            context.directory.is_in_room(user_id, &fanout.room_id)
                || context.last_seen.is_seen_since(user_id, &fanout.room_id, fanout.accepted_at)
        };
        if !fanout.is_for_disconnected() {
            return false;
        }
        let Some(remote_users) = fanout.remote_users().filter(|_| !was_at_this_node()) else {
            return was_at_this_node();
        };
        remote_users.refresh(remote_users::MAX_AGE, &context.last_seen).await;
        // A refresh records users who have left other nodes in `last_seen`, too.
        remote_users.contains(user_id) || was_at_this_node()
    }

    /// Applies a send's outcome to the device, and returns the attempt's. The notification expires after `remaining`.
    async fn conclude(
        &self,
        context: &PushContext,
        provider: &'static str,
        outcome: SendOutcome,
        remaining: Duration,
        registration: &RegistrationId,
        device: &DeviceRecord,
    ) -> AttemptOutcome {
        let retry = |wait: Duration| self.retry(wait, remaining);
        let warn = |message: &'static str, reason: &str| context.log.warn(provider, message, reason);
        let stored = match outcome {
            SendOutcome::Delivered => return AttemptOutcome::Delivered,
            SendOutcome::Retry { reason, after } => {
                warn("a push is tried again", &reason);
                return retry(after.unwrap_or_default().max(RETRY_BACKOFF.after(self.attempts)));
            }
            SendOutcome::Unreachable(reason) => {
                warn("a push is tried again", &reason);
                return retry(RETRY_BACKOFF.after(self.attempts));
            }
            SendOutcome::Misconfigured(reason) => {
                warn("the provider refuses the server's keys or settings; correct them", &reason);
                return retry(MISCONFIGURED_BACKOFF.after(self.attempts));
            }
            SendOutcome::Throttled { reason, after } => {
                warn("the provider throttles; all its pushes wait", &reason);
                return match retry(after.min(MAX_THROTTLE)) {
                    AttemptOutcome::Retry(at) => AttemptOutcome::Throttled(at),
                    outcome => outcome,
                };
            }
            SendOutcome::Rejected(reason) => {
                warn("the provider rejects a push", &reason);
                return AttemptOutcome::Rejected;
            }
            SendOutcome::InvalidTarget(reason) => {
                warn("a device gets no pushes for a day", &reason);
                context.devices.suspend(registration).await.map(|()| AttemptOutcome::Suspended)
            }
            SendOutcome::Unregistered(since) => {
                // By the provider's clock, compared with the registration's time by ours.
                let since = since.map(|since| {
                    let since = since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                });
                tracing::debug!(
                    provider,
                    registered = device.registered_at,
                    ?since,
                    "a device no longer exists"
                );
                context.devices.forget(registration, since).await.map(|_| AttemptOutcome::Forgotten)
            }
        };
        stored.unwrap_or_else(|error| {
            tracing::warn!(%error, "can't store a device's state; the next push finds it out again");
            AttemptOutcome::Forgotten
        })
    }

    /// Returns a retry after `wait`, unless the notification expires before, or all attempts are used up.
    fn retry(&self, wait: Duration, remaining: Duration) -> AttemptOutcome {
        match self.attempts >= MAX_ATTEMPTS || wait >= remaining {
            true => AttemptOutcome::Expired,
            false => AttemptOutcome::Retry(Instant::now() + wait),
        }
    }

    /// Returns a retry soon, since the device's service has no free send slot. It doesn't count as an attempt.
    fn defer(&mut self, remaining: Duration) -> AttemptOutcome {
        self.deferrals = self.deferrals.saturating_add(1);
        match remaining < MIN_DEFERRAL {
            true => AttemptOutcome::Expired,
            false => {
                let wait = DEFERRAL_BACKOFF.after(self.deferrals).min(remaining / 2);
                AttemptOutcome::Retry(Instant::now() + wait)
            }
        }
    }
}

impl BackoffBounds {
    /// Returns the wait after failure number `failures`, from 1. It doubles each time, and is spread over its upper
    /// half at random, so that what failed together isn't tried again together.
    fn after(self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest);
        doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Sends once; returns `None` without an answer in time. A send that has none after 2 s gives its slot back.
async fn send(
    provider: &dyn AnyProvider,
    target: &PushTarget,
    message: &PushMessage<'_>,
    slot: Option<SendSlot<'_>>,
) -> Option<SendOutcome> {
    let mut sending = provider.send(target, message);
    let Some(mut slot) = slot else { return timeout(SEND_TIMEOUT, sending).await.ok() };
    if let Ok(outcome) = timeout(SLOW_AFTER, sending.as_mut()).await {
        release(slot, &outcome);
        return Some(outcome);
    }
    if !slot.make_slow() {
        return None;
    }
    let outcome = timeout(SEND_TIMEOUT - SLOW_AFTER, sending).await.ok()?;
    // An application's provider may return `Retry` when an answer did not come in time.
    if !matches!(outcome, SendOutcome::Retry { .. }) {
        release(slot, &outcome);
    }
    Some(outcome)
}

/// Releases a slot, with the evidence that the outcome gives of its origin.
fn release(slot: SendSlot<'_>, outcome: &SendOutcome) {
    match outcome {
        SendOutcome::Unreachable(_) => drop(slot),
        // An invalid key or a text that is too long is found before the service is asked.
        SendOutcome::InvalidTarget(_) | SendOutcome::Rejected(_) => slot.release_unused(),
        _ => slot.release_answered(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_open_a_services_window() {
        let sends = |outcome: SendOutcome| {
            let slots = SendSlots::new(64, |_| true);
            release(slots.enter("a").expect("a slot"), &outcome);
            let more: Vec<_> = std::iter::from_fn(|| slots.enter("a")).collect();
            more.len()
        };
        let reason = String::new;
        assert_eq!(
            [sends(SendOutcome::Delivered), sends(SendOutcome::Retry { reason: reason(), after: None })],
            [17, 17]
        );
        assert_eq!(
            [sends(SendOutcome::InvalidTarget(reason())), sends(SendOutcome::Rejected(reason()))],
            [16, 16]
        );
        assert!(sends(SendOutcome::Unreachable(reason())) < 16);
    }
}
