//! The send slots of one provider, as the push origins share them.
//!
//! An endpoint is text of a user's choice, and its service answers as it likes. Three bounds keep a service that
//! doesn't answer from delaying the pushes to others:
//!
//! - A send without an answer after 2 s leaves its slot for one of the places for slow sends, which are half of all.
//! - Each origin has a window of sends at a time, as a TCP connection has of segments (congestion avoidance, RFC 5681,
//!   section 3.1): it grows by one with each answer, and halves with each send without one.
//! - Since a user can name any number of origins, those that the provider doesn't
//!   [know](super::Provider::is_known_origin) ("unknown" ones: for browsers, all but the vendors' push services) share a
//!   part of all sends: an eighth for those without an answer so far, and a quarter in all once a known origin answered.
//!   Of the places for slow sends they have half.

use std::{sync::Arc, time::Duration};

use crate::collections::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The send slots of one provider.
pub(super) struct SendSlots {
    /// The maximum of sends at a time.
    max_sends: usize,
    /// Returns whether an origin is one for which no user can answer.
    is_known: Box<dyn Fn(&str) -> bool + Send + Sync>,
    usage: Mutex<SlotUsage>,
    /// Notified when a send became slow, and its slot is free for another.
    slot_freed: Notify,
}

#[derive(Default)]
struct SlotUsage {
    origins: HashMap<Arc<str>, PushOrigin>,
    /// Slow sends in flight.
    slow: usize,
    known: GroupUsage,
    unknown: GroupUsage,
    /// Set once a known origin has answered.
    has_known_answered: bool,
}

/// The sends in flight to known origins, or to unknown ones, by the standing that their origins had when they began.
#[derive(Debug, Default, PartialEq, Eq)]
struct GroupUsage {
    /// Sends that hold a slot, to origins of [`Standing::New`].
    new: usize,
    /// The same of [`Standing::Responsive`].
    responsive: usize,
    /// The same of [`Standing::Unresponsive`].
    unresponsive: usize,
    /// Slow sends.
    slow: usize,
    /// Slow sends to origins that were not responsive.
    slow_unproven: usize,
}

/// The outcome of the last finished send to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// There was none.
    New,
    /// It was answered.
    Responsive,
    /// It wasn't.
    Unresponsive,
}

struct PushOrigin {
    is_known: bool,
    standing: Standing,
    /// The maximum of sends in flight.
    window: usize,
    in_flight: usize,
    slow: usize,
}

/// A slot that one send holds. Dropping it ends the send without an answer, unless one of the `release_` methods did.
pub(super) struct SendSlot<'a> {
    slots: &'a SendSlots,
    origin: Arc<str>,
    is_known: bool,
    /// The origin's standing when the send began.
    standing: Standing,
    is_slow: bool,
    outcome: OriginOutcome,
}

/// The outcome of a send for the standing of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OriginOutcome {
    Answered,
    NoAnswer,
    /// The origin may not have been asked.
    NotSent,
}

/// The time after which a send without an answer is slow.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(2);
/// The window of a new origin.
const INITIAL_WINDOW: usize = 16;
/// The maximum of origins that are remembered, beside those with sends in flight.
const MAX_ORIGINS: usize = 4_096;
/// All known origins that are new have one in this many slots.
const NEW_KNOWN_SHARE: usize = 2;
/// All known origins that are unresponsive have one in this many slots.
const UNRESPONSIVE_KNOWN_SHARE: usize = 8;
/// All unknown origins have one in this many slots, once a known one answered.
const UNKNOWN_SHARE: usize = 2;
/// Unknown origins that are new or unresponsive have one in this many slots.
const UNPROVEN_UNKNOWN_SHARE: usize = 4;
/// Unknown origins that are unresponsive have one in this many slots.
const UNRESPONSIVE_UNKNOWN_SHARE: usize = 8;
/// With fewer sends at a time, slow ones keep their slots.
const MIN_SENDS_FOR_SLOW_PLACES: usize = 4;

impl SendSlots {
    /// Creates the slots for at most `max_sends` at a time. `is_known` returns whether an origin is one for which no
    /// user can answer.
    pub(super) fn new(max_sends: usize, is_known: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        SendSlots {
            max_sends,
            is_known: Box::new(is_known),
            usage: Mutex::default(),
            slot_freed: Notify::new(),
        }
    }

    /// Returns whether one more send may begin, while `in_flight` are in flight.
    pub(super) fn has_free(&self, in_flight: usize) -> bool {
        let usage = self.usage.lock();
        let slots = if usage.origins.is_empty() { self.max_sends } else { self.slot_count() };
        in_flight.saturating_sub(usage.slow) < slots
    }

    /// Takes a slot for a send to an origin; `None` if its window is full, or the part that origins of its standing
    /// share.
    pub(super) fn enter(&self, name: &str) -> Option<SendSlot<'_>> {
        let mut usage = self.usage.lock();
        if usage.origins.len() >= MAX_ORIGINS && !usage.origins.contains_key(name) {
            // Responsive origins are forgotten last: the others only have to prove themselves again.
            usage.origins.retain(|_, origin| origin.in_flight > 0 || origin.standing == Standing::Responsive);
            if usage.origins.len() >= MAX_ORIGINS {
                usage.origins.retain(|_, origin| origin.in_flight > 0);
            }
        }
        let name: Arc<str> = match usage.origins.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let SlotUsage { origins, known, unknown, has_known_answered, .. } = &mut *usage;
        let origin = origins.entry(Arc::clone(&name)).or_insert_with(|| PushOrigin {
            is_known: (self.is_known)(&name),
            standing: Standing::New,
            window: INITIAL_WINDOW,
            in_flight: 0,
            slow: 0,
        });
        let (is_known, standing) = (origin.is_known, origin.standing);
        let has_share = match is_known {
            true => self.has_known_share(known, standing),
            false => self.has_unknown_share(unknown, standing, *has_known_answered),
        };
        if origin.in_flight >= origin.window || !has_share {
            return None;
        }
        origin.in_flight += 1;
        *usage.group(is_known).held(standing) += 1;
        let outcome = OriginOutcome::NoAnswer;
        Some(SendSlot { slots: self, origin: name, is_known, standing, is_slow: false, outcome })
    }

    /// Returns whether one more send may begin to a known origin of that standing.
    fn has_known_share(&self, known: &GroupUsage, standing: Standing) -> bool {
        match standing {
            Standing::New => known.new < self.share(NEW_KNOWN_SHARE),
            Standing::Unresponsive => known.unresponsive < self.share(UNRESPONSIVE_KNOWN_SHARE),
            Standing::Responsive => true,
        }
    }

    /// Returns whether one more send may begin to an unknown origin of that standing.
    fn has_unknown_share(&self, unknown: &GroupUsage, standing: Standing, has_known_answered: bool) -> bool {
        let GroupUsage { new, responsive, unresponsive, .. } = *unknown;
        let total = new + responsive + unresponsive;
        (!has_known_answered || total < self.share(UNKNOWN_SHARE))
            && (standing == Standing::Responsive || new + unresponsive < self.share(UNPROVEN_UNKNOWN_SHARE))
            && (standing != Standing::Unresponsive || unresponsive < self.share(UNRESPONSIVE_UNKNOWN_SHARE))
    }

    /// Returns one of `parts` equal parts of the slots, and at least one slot.
    fn share(&self, parts: usize) -> usize {
        (self.slot_count() / parts).max(1)
    }

    /// Waits until a send has become slow.
    pub(super) async fn changed(&self) {
        self.slot_freed.notified().await;
    }

    /// Returns the number of slots: the sends that there may be beside slow ones.
    fn slot_count(&self) -> usize {
        self.max_sends - self.slow_places()
    }

    /// Returns the maximum of slow sends: half of all.
    fn slow_places(&self) -> usize {
        if self.max_sends < MIN_SENDS_FOR_SLOW_PLACES { 0 } else { self.max_sends / 2 }
    }
}

impl SlotUsage {
    fn group(&mut self, is_known: bool) -> &mut GroupUsage {
        if is_known { &mut self.known } else { &mut self.unknown }
    }
}

impl GroupUsage {
    /// Returns the number of sends that hold a slot, to origins of that standing.
    fn held(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::New => &mut self.new,
            Standing::Responsive => &mut self.responsive,
            Standing::Unresponsive => &mut self.unresponsive,
        }
    }

    /// Gives back the slot of a send to an origin of that standing.
    fn release(&mut self, standing: Standing) {
        let held = self.held(standing);
        *held = held.saturating_sub(1);
    }
}

impl SendSlot<'_> {
    /// Gives the slot back for a place among the slow sends. Returns `false` if there is none, and the send is to be
    /// given up.
    ///
    /// An origin has at most as many of these places as are free, so that one that never answers leaves half of them to
    /// the others, and two leave a third. All unknown origins that aren't responsive have half; once a known origin
    /// answered, all unknown origins have.
    pub(super) fn make_slow(&mut self) -> bool {
        if self.slots.max_sends < MIN_SENDS_FOR_SLOW_PLACES || self.is_slow {
            return true;
        }
        let mut usage = self.slots.usage.lock();
        let free = self.slots.slow_places().saturating_sub(usage.slow);
        let is_unproven = self.standing != Standing::Responsive;
        let slow_unknown = match usage.has_known_answered {
            true => usage.unknown.slow,
            false if is_unproven => usage.unknown.slow_unproven,
            false => 0,
        };
        if !self.is_known && slow_unknown >= self.slots.slow_places() / 2 {
            return false;
        }
        let Some(origin) = usage.origins.get_mut(&self.origin).filter(|origin| origin.slow < free) else {
            return false;
        };
        origin.slow += 1;
        usage.slow += 1;
        let group = usage.group(self.is_known);
        group.release(self.standing);
        group.slow += 1;
        group.slow_unproven += usize::from(is_unproven);
        self.is_slow = true;
        drop(usage);
        self.slots.slot_freed.notify_one();
        true
    }

    /// Ends the send: the origin answered, with whichever status.
    pub(super) fn release_answered(mut self) {
        self.outcome = OriginOutcome::Answered;
    }

    /// Ends the send without a consequence for the origin, which may not have been asked.
    pub(super) fn release_unused(mut self) {
        self.outcome = OriginOutcome::NotSent;
    }
}

impl Drop for SendSlot<'_> {
    fn drop(&mut self) {
        let mut usage = self.slots.usage.lock();
        let slow = usize::from(self.is_slow);
        usage.slow = usage.slow.saturating_sub(slow);
        let group = usage.group(self.is_known);
        if self.is_slow {
            let unproven = usize::from(self.standing != Standing::Responsive);
            group.slow = group.slow.saturating_sub(1);
            group.slow_unproven = group.slow_unproven.saturating_sub(unproven);
        } else {
            group.release(self.standing);
        }
        usage.has_known_answered |= self.is_known && self.outcome == OriginOutcome::Answered;
        let Some(origin) = usage.origins.get_mut(&self.origin) else { return };
        origin.in_flight = origin.in_flight.saturating_sub(1);
        origin.slow = origin.slow.saturating_sub(slow);
        (origin.standing, origin.window) = match self.outcome {
            OriginOutcome::Answered => (Standing::Responsive, (origin.window + 1).min(self.slots.max_sends)),
            OriginOutcome::NoAnswer => (Standing::Unresponsive, (origin.window / 2).max(1)),
            OriginOutcome::NotSent => (origin.standing, origin.window),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins as many sends to an origin as it may have.
    fn fill<'a>(slots: &'a SendSlots, origin: &str) -> Vec<SendSlot<'a>> {
        std::iter::from_fn(|| slots.enter(origin)).collect()
    }

    fn is_known(origin: &str) -> bool {
        origin.starts_with("known")
    }

    /// Begins a send to each of a hundred origins, as far as there are slots.
    fn enter<'a>(slots: &'a SendSlots, kind: &str) -> Vec<SendSlot<'a>> {
        (0..100).filter_map(|number| slots.enter(&format!("{kind}-{number}"))).collect()
    }

    #[test]
    fn unresponsive_unknown_origins_share_an_eighth_and_unproven_ones_a_quarter() {
        let slots = SendSlots::new(64, is_known);
        slots.enter("good").expect("a slot").release_answered();
        let new = enter(&slots, "evil");
        assert_eq!(new.len(), 8);
        drop(new);
        // All origins that got a slot are unresponsive now.
        let (silent, new) = (enter(&slots, "evil"), enter(&slots, "other"));
        assert_eq!(silent.iter().filter(|slot| slot.standing == Standing::Unresponsive).count(), 4);
        assert_eq!(silent.len() + new.len(), 8);
        assert_eq!(fill(&slots, "good").len(), INITIAL_WINDOW + 1);
        drop((silent, new));
        assert_eq!(slots.usage.lock().unknown, GroupUsage::default());
    }

    #[test]
    fn unknown_origins_leave_known_ones_their_initial_window() {
        let slots = SendSlots::new(64, is_known);
        let mut held = enter(&slots, "evil");
        held.extend(fill(&slots, "more"));
        assert_eq!(held.len(), 8);
        let known = fill(&slots, "known");
        assert_eq!(known.len(), INITIAL_WINDOW);
        assert!(slots.has_free(held.len() + known.len()));
        drop((held, known));
        let usage = slots.usage.lock();
        assert_eq!((&usage.known, &usage.unknown), (&GroupUsage::default(), &GroupUsage::default()));
    }

    #[test]
    fn responsive_unknown_origins_leave_half_to_known_ones() {
        let slots = SendSlots::new(64, is_known);
        (0..20).for_each(|_| slots.enter("slowly").expect("a slot").release_answered());
        // Until a known origin answers, all slots are for the unknown ones.
        let held = fill(&slots, "slowly");
        assert_eq!(held.len(), INITIAL_WINDOW + 20);
        held.into_iter().for_each(SendSlot::release_answered);
        slots.enter("known").expect("a slot").release_answered();
        let held = fill(&slots, "slowly");
        assert_eq!((held.len(), fill(&slots, "known").len()), (16, INITIAL_WINDOW + 1));
    }

    #[test]
    fn unresponsive_unknown_origins_leave_slow_places_to_others() {
        let slots = SendSlots::new(64, is_known);
        let mut stored = Vec::new();
        for _ in 0..8 {
            stored.extend(
                enter(&slots, "evil").into_iter().filter_map(|mut slot| slot.make_slow().then_some(slot)),
            );
        }
        assert_eq!(stored.len(), 16);
        assert!(slots.enter("known").expect("a slot").make_slow());
        drop(stored);
        assert_eq!(slots.usage.lock().unknown, GroupUsage::default());
    }

    #[test]
    fn unknown_origins_that_answered_once_leave_slow_places_to_known_ones() {
        let slots = SendSlots::new(64, is_known);
        slots.enter("known").expect("a slot").release_answered();
        let names = (0..40).map(|number| format!("evil-{number}"));
        names.clone().for_each(|name| slots.enter(&name).expect("a slot").release_answered());
        let slow = names.filter_map(|name| slots.enter(&name));
        let stored: Vec<_> = slow.filter_map(|mut slot| slot.make_slow().then_some(slot)).collect();
        assert_eq!(stored.len(), 16);
        assert!(slots.enter("known").expect("a slot").make_slow());
        drop(stored);
        assert_eq!(slots.usage.lock().unknown, GroupUsage::default());
    }

    #[test]
    fn only_an_answer_of_a_known_origin_bounds_all_unknown_ones() {
        let slots = SendSlots::new(64, is_known);
        (0..20).for_each(|_| slots.enter("slowly").expect("a slot").release_answered());
        slots.enter("known").expect("a slot").release_unused();
        drop(slots.enter("known"));
        let held = fill(&slots, "slowly");
        assert_eq!(held.len(), INITIAL_WINDOW + 20);
        held.into_iter().for_each(SendSlot::release_answered);
        slots.enter("known").expect("a slot").release_answered();
        assert_eq!(fill(&slots, "slowly").len(), 16);
    }

    #[test]
    fn a_push_that_is_not_sent_does_not_change_its_origins_standing() {
        let slots = SendSlots::new(64, is_known);
        (0..50).for_each(|_| slots.enter("a").expect("a slot").release_unused());
        let first = slots.enter("a").expect("a slot");
        assert_eq!(first.standing, Standing::New);
        first.release_answered();
        assert_eq!(fill(&slots, "a").len(), INITIAL_WINDOW + 1);
    }

    #[test]
    fn a_window_grows_with_answers_and_halves_without() {
        let slots = SendSlots::new(64, is_known);
        let first = fill(&slots, "known-a");
        assert_eq!(first.len(), INITIAL_WINDOW);
        first.into_iter().for_each(SendSlot::release_answered);
        let second = fill(&slots, "known-a");
        assert_eq!(second.len(), 2 * INITIAL_WINDOW);
        drop(second);
        assert_eq!((fill(&slots, "known-a").len(), fill(&slots, "known-b").len()), (1, INITIAL_WINDOW));
        (0..200).for_each(|_| slots.enter("known-a").expect("a slot").release_answered());
        assert_eq!(fill(&slots, "known-a").len(), 64);
    }

    #[test]
    fn a_slow_send_leaves_its_slot_to_others() {
        let slots = SendSlots::new(64, is_known);
        ["a", "b"].iter().for_each(|origin| slots.enter(origin).expect("a slot").release_answered());
        let mut all: Vec<_> = ["a", "b"].iter().flat_map(|origin| fill(&slots, origin)).collect();
        assert!(!slots.has_free(all.len()));
        assert!(all.iter_mut().take(4).all(SendSlot::make_slow));
        assert!(slots.has_free(all.len()));
    }

    #[test]
    fn slow_sends_are_bounded_and_one_origin_leaves_places_to_others() {
        let slots = SendSlots::new(64, is_known);
        (0..64).for_each(|_| slots.enter("a").expect("a slot").release_answered());
        let mut slow = fill(&slots, "a");
        let stored = slow.iter_mut().filter_map(|slot| slot.make_slow().then_some(())).count();
        assert_eq!((slow.len(), stored), (64, 16));
        let mut other = slots.enter("b").expect("a slot");
        assert!(other.make_slow());
        drop((slow, other));
        assert!(slots.has_free(31) && !slots.has_free(32));
    }

    #[test]
    fn with_few_sends_at_a_time_slow_ones_keep_their_slots() {
        let slots = SendSlots::new(1, is_known);
        let mut only = slots.enter("a").expect("a slot");
        assert!(only.make_slow() && !slots.has_free(1));
    }

    #[test]
    fn unresponsive_origins_are_forgotten_before_responsive_ones() {
        let slots = SendSlots::new(64, is_known);
        slots.enter("proven").expect("a slot").release_answered();
        for number in 0..3 * MAX_ORIGINS {
            drop(slots.enter(&format!("{number}")));
        }
        assert!(slots.usage.lock().origins.len() <= MAX_ORIGINS);
        assert_eq!(fill(&slots, "proven").len(), INITIAL_WINDOW + 1);
    }
}
