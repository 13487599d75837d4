//! The tries to bring one event to one device.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{
    Outcome, Outgoing,
    device::{Device, Registration},
    devices::Entry,
    elsewhere,
    http::LONGEST_WAIT,
    lane::Shared,
    provider::{AnyProvider, Target},
    retained::Share,
    round::Round,
    slots::{SLOW_AFTER, Slot, Slots},
};
use crate::{Code, Recipient, hooks::RoomRef, observe::spans};

/// See the [module](self): one for each event and device, whatever comes of it.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) round: Arc<Round>,
    pub(super) entry: Entry,
    /// How many there were.
    pub(super) tries: u32,
    /// How often its service had as many sends as it may have.
    pub(super) deferred: u32,
    /// A restart would go on with it.
    pub(super) recorded: bool,
    /// The service that its device is at, once that was read, where the provider has several.
    pub(super) origin: Option<Arc<str>>,
    /// The share of the memory of retries that it holds, once it waits for another try.
    pub(super) share: Option<Arc<Share>>,
    /// Counts the chain among the resumed ones, if another process began it.
    pub(super) resumed: Option<Arc<()>>,
}

/// What came of a try.
#[derive(Debug)]
pub(super) enum Ended {
    Delivered,
    /// Somebody came back, or a newer event took its place.
    Cancelled,
    Expired,
    /// Nothing is to be said to this device.
    Nothing,
    /// The application lets the user have no more of the room's notifications.
    Withdrawn,
    Forgotten,
    Suspended,
    Rejected,
    /// Once more, then.
    Again(Instant),
    /// The same, and nobody else before that either.
    AllWait(Instant),
    /// It could not be begun, for the store is away.
    Unread,
}

/// A try may take so long.
const TRY_WITHIN: Duration = Duration::from_secs(30);
/// What the application may take to say whether somebody still gets pushes.
const ASK_WITHIN: Duration = Duration::from_secs(1);
/// After so many, it is given up.
const MOST_TRIES: u32 = 12;
/// The first wait between two, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The same while a service has as many sends as it may have.
const DEFERRED: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// A push for now or never waits so long for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// With less time than this left, there is no turn to wait for.
const SOON: Duration = Duration::from_millis(50);
/// The same where somebody has to mend something.
const SLOW_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

impl Chain {
    /// Tries once.
    pub(super) async fn run(&mut self, shared: &Shared, slots: &Slots, provider: &dyn AnyProvider) -> Ended {
        if self.round.is_superseded() || self.is_seen(shared).await {
            return Ended::Cancelled;
        }
        let (registration, device) = match shared.devices.current(&self.entry, &self.round.room_id).await {
            Ok(Some(current)) => current,
            Ok(None) => return Ended::Nothing,
            Err(error) => {
                tracing::warn!(%error, "pushes wait for the store");
                return Ended::Unread;
            }
        };
        if let Some(ended) = self.ask_whether_allowed(shared, provider.name(), &registration).await {
            return ended;
        }
        let round = &self.round;
        let to = Recipient {
            user_id: &device.user,
            language: device.language.as_deref(),
            room_id: &round.room_id,
            from: &round.told.from,
        };
        let notice = match (round.pushed.notice)(&round.told.data, &to) {
            Ok(Some(notice)) => notice,
            Ok(None) => return Ended::Nothing,
            Err(error) => {
                tracing::error!(event = round.event, %error, "an event can't be decoded from its own JSON");
                return Ended::Nothing;
            }
        };
        // A push that is for now or never has one try.
        let left = notice
            .ttl
            .checked_sub(round.age())
            .or((self.tries == 0 && notice.ttl.is_zero()).then_some(Duration::ZERO));
        let Some(ttl) = left else { return Ended::Expired };
        let push = Outgoing {
            notice: &notice,
            room_id: &round.room_id,
            event: round.event,
            position: round.position(),
            timestamp: round.told.accepted.timestamp,
            ttl,
            collapse: round.collapse.as_deref(),
        };
        self.origin = provider.origin(&device.target).map(Arc::from);
        let slot = self.origin.as_ref().map(|origin| slots.enter(origin));
        let Some(slot) = slot.map_or(Some(None), |slot| slot.map(Some)) else {
            let left = if notice.ttl.is_zero() { TURN_WITHIN.saturating_sub(self.round.age()) } else { ttl };
            return self.defer(left);
        };
        self.tries += 1;
        let span = spans::push(provider.name(), &round.room_id, &round.told.accepted.event_id);
        let sent = send(provider, &device.target, &push, slot).instrument(span.clone()).await;
        let outcome = sent.unwrap_or_else(|| Outcome::Unreachable("no answer in time".to_owned()));
        span.record("delivered", matches!(outcome, Outcome::Delivered));
        self.conclude(shared, provider.name(), outcome, ttl, (&registration, &device)).await
    }

    /// Asks the application whether the user still gets the room's notifications; yields what comes of it if not.
    async fn ask_whether_allowed(
        &mut self,
        shared: &Shared,
        provider: &'static str,
        registration: &Registration,
    ) -> Option<Ended> {
        let (hooks, round) = (shared.hooks.as_ref()?, &self.round);
        let name = round.room_name;
        let asked = hooks.before_push(&self.entry.user, RoomRef { id: &round.room_id, name });
        let refusal = match timeout(ASK_WITHIN, asked).await {
            Ok(Ok(())) => return None,
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => None,
        };
        let code = refusal.map(|refusal| refusal.code);
        if code.is_none_or(|code| matches!(code, Code::Unavailable | Code::Internal)) {
            shared.complaints.say(
                provider,
                "it can't be asked who still gets pushes",
                "`before_push` failed",
            );
            self.tries += 1;
            return Some(match self.tries >= MOST_TRIES {
                true => Ended::Expired,
                false => Ended::Again(Instant::now() + self.backoff(BACKOFF)),
            });
        }
        if let Err(error) = shared.devices.withdraw(registration, &round.room_id).await {
            tracing::warn!(%error, "a device can't be taken out of a room; the application is asked again");
        }
        Some(Ended::Withdrawn)
    }

    /// Whether the user needs no push.
    async fn is_seen(&self, shared: &Shared) -> bool {
        let (user, round) = (&self.entry.user, &self.round);
        let was_here = || {
            shared.directory.is_in_room(user, &round.room_id)
                || shared.departures.since(user, &round.room_id, round.began)
        };
        if !round.is_for_absent() {
            return false;
        }
        let Some(there) = round.elsewhere().filter(|_| !was_here()) else { return was_here() };
        there.look(elsewhere::EVERY, &shared.departures).await;
        // Who was found to have gone there is among the departures, too.
        there.has(user) || was_here()
    }

    async fn conclude(
        &self,
        shared: &Shared,
        provider: &'static str,
        outcome: Outcome,
        left: Duration,
        (registration, device): (&Registration, &Device),
    ) -> Ended {
        let again = |wait: Duration| self.again(wait, left);
        let complain = |what: &'static str, reason: &str| shared.complaints.say(provider, what, reason);
        let stored = match outcome {
            Outcome::Delivered => return Ended::Delivered,
            Outcome::Retry { reason, after } => {
                complain("it is tried again", &reason);
                return again(after.unwrap_or_default().max(self.backoff(BACKOFF)));
            }
            Outcome::Unreachable(reason) => {
                complain("it is tried again", &reason);
                return again(self.backoff(BACKOFF));
            }
            Outcome::Misconfigured(reason) => {
                complain("the provider's settings or keys need mending", &reason);
                return again(self.backoff(SLOW_BACKOFF));
            }
            Outcome::Throttled { reason, after } => {
                complain("all wait", &reason);
                return match again(after.min(LONGEST_WAIT)) {
                    Ended::Again(at) => Ended::AllWait(at),
                    ended => ended,
                };
            }
            Outcome::Rejected(reason) => {
                complain("the push is not taken", &reason);
                return Ended::Rejected;
            }
            Outcome::Suspend(reason) => {
                complain("the device gets nothing for a day", &reason);
                shared.devices.suspend(registration).await.map(|()| Ended::Suspended)
            }
            Outcome::Gone(since) => {
                // A provider's clock says when; ours said when the device registered.
                let since = since.map(|since| {
                    let since = since.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
                });
                tracing::debug!(provider, registered = device.registered, ?since, "a device is no more");
                shared.devices.forget(registration, since).await.map(|_| Ended::Forgotten)
            }
        };
        stored.unwrap_or_else(|error| {
            tracing::warn!(%error, "what became of a device can't be stored; its provider will say it again");
            Ended::Forgotten
        })
    }

    /// Once more after `wait`, of what is worth being shown for as long as is `left`.
    fn again(&self, wait: Duration, left: Duration) -> Ended {
        match self.tries >= MOST_TRIES || wait >= left {
            true => Ended::Expired,
            false => Ended::Again(Instant::now() + wait),
        }
    }

    /// Once more soon, since the service has as many sends as it may. Nothing was sent, so that it is no try.
    fn defer(&mut self, left: Duration) -> Ended {
        self.deferred = self.deferred.saturating_add(1);
        match left < SOON {
            true => Ended::Expired,
            false => Ended::Again(Instant::now() + backoff(self.deferred, DEFERRED).min(left / 2)),
        }
    }

    fn backoff(&self, range: (Duration, Duration)) -> Duration {
        backoff(self.tries, range)
    }
}

/// Doubles with each time, and is spread, so that what failed together doesn't come back together.
fn backoff(times: u32, (first, longest): (Duration, Duration)) -> Duration {
    let doubled = first.saturating_mul(1 << times.saturating_sub(1).min(16)).min(longest);
    doubled.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Sends once; `None` if no answer came in time.
async fn send(
    provider: &dyn AnyProvider,
    target: &Target,
    push: &Outgoing<'_>,
    slot: Option<Slot<'_>>,
) -> Option<Outcome> {
    let mut sending = provider.send(target, push);
    let Some(mut slot) = slot else { return timeout(TRY_WITHIN, sending).await.ok() };
    if let Ok(outcome) = timeout(SLOW_AFTER, sending.as_mut()).await {
        conclude(slot, &outcome);
        return Some(outcome);
    }
    if !slot.slow_down() {
        return None;
    }
    let outcome = timeout(TRY_WITHIN - SLOW_AFTER, sending).await.ok()?;
    // An application's provider may say that for an answer which did not come in time.
    if !matches!(outcome, Outcome::Retry { .. }) {
        conclude(slot, &outcome);
    }
    Some(outcome)
}

/// Ends a send with what its outcome says of the origin.
fn conclude(slot: Slot<'_>, outcome: &Outcome) {
    match outcome {
        Outcome::Unreachable(_) => drop(slot),
        // A subscription whose keys are of no use, or a text that is too long, is found out without the service.
        Outcome::Suspend(_) | Outcome::Rejected(_) => slot.says_nothing(),
        _ => slot.answered(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_open_a_services_window() {
        let sends = |outcome: Outcome| {
            let slots = Slots::new(64, |_| true);
            conclude(slots.enter("a").expect("a slot"), &outcome);
            let more: Vec<_> = std::iter::from_fn(|| slots.enter("a")).collect();
            more.len()
        };
        let why = String::new;
        assert_eq!(
            [sends(Outcome::Delivered), sends(Outcome::Retry { reason: why(), after: None })],
            [17, 17]
        );
        assert_eq!([sends(Outcome::Suspend(why())), sends(Outcome::Rejected(why()))], [16, 16]);
        assert!(sends(Outcome::Unreachable(why())) < 16);
    }
}
