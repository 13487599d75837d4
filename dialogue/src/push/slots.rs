//! The sends of a lane that are under way, as the origins that they go to share them.
//!
//! An endpoint is a stranger's text, and its service answers as it likes. So a send without an answer leaves its slot
//! to others after a moment, for one of the places for slow sends; an origin has a window of sends at a time, as TCP
//! has of segments (RFC 5681): it grows by one with each answer, and halves with each send that gets none. And since
//! a stranger can name any number of origins, those that aren't known share a part of all sends: an eighth hold a
//! slot while they gave no answer, a quarter in all once a known one answered. Of the slow sends, which are half of
//! all, those have half.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) struct Slots {
    /// Sends of a lane at a time.
    most: usize,
    /// Returns whether an origin is a service of browsers, which no stranger can answer for.
    is_known: fn(&str) -> bool,
    state: Mutex<State>,
    /// A send was slow, and others may begin.
    changed: Notify,
}

#[derive(Default)]
struct State {
    origins: HashMap<Arc<str>, Origin>,
    slow: usize,
    known: Group,
    strangers: Group,
    /// A known origin answered.
    has_known: bool,
}

/// Sends to known origins, or to all others, by the standing of their origin when they began.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    /// Those that hold a slot.
    new: usize,
    answers: usize,
    silent: usize,
    /// Slow ones.
    slow: usize,
    /// Slow ones to origins that gave no answer last time, or none yet.
    slow_unproven: usize,
}

/// The outcome of the last send to an origin that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Answers,
    Silent,
}

struct Origin {
    is_known: bool,
    standing: Standing,
    window: usize,
    trying: usize,
    slow: usize,
}

/// One send to an origin, which is over when this is dropped: without an answer, unless it is said.
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    origin: Arc<str>,
    is_known: bool,
    /// The origin's, when the send began.
    standing: Standing,
    pace: Pace,
    heard: Heard,
}

/// What a send says of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Answer,
    Silence,
    /// The origin may not have been asked.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Prompt,
    Slow,
}

/// After so long a send is slow.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(2);
/// The window of an origin of which nothing is known.
const FIRST_WINDOW: usize = 16;
/// Origins that are remembered, beside those that are sent to.
const MOST_ORIGINS: usize = 4_096;
/// The parts of the slots that all new origins have that are known, and all silent ones.
const KNOWN_SHARES: (usize, usize) = (2, 8);
/// The parts of the slots that the other origins have, once a known one answered: all of them, those that gave no
/// answer last time or none yet, and those of the first kind alone.
const STRANGERS_SHARES: (usize, usize, usize) = (2, 4, 8);
/// With fewer sends at a time, slow ones keep their slots.
const FEW: usize = 4;

impl Slots {
    pub(super) fn new(most: usize, is_known: fn(&str) -> bool) -> Self {
        Slots { most, is_known, state: Mutex::default(), changed: Notify::new() }
    }

    /// Returns whether one more send may begin, while `trying` are under way.
    pub(super) fn has_space(&self, trying: usize) -> bool {
        let state = self.state.lock();
        let slots = if state.origins.is_empty() { self.most } else { self.prompt() };
        trying.saturating_sub(state.slow) < slots
    }

    /// Begins a send to an origin; `None` if its window is full, or what origins of its standing share.
    pub(super) fn enter(&self, name: &str) -> Option<Slot<'_>> {
        let mut state = self.state.lock();
        if state.origins.len() >= MOST_ORIGINS && !state.origins.contains_key(name) {
            // A proven one is worth remembering, before one that only has to prove itself again.
            state.origins.retain(|_, origin| origin.trying > 0 || origin.standing == Standing::Answers);
            if state.origins.len() >= MOST_ORIGINS {
                state.origins.retain(|_, origin| origin.trying > 0);
            }
        }
        let name: Arc<str> = match state.origins.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        let State { origins, known, strangers, has_known, .. } = &mut *state;
        let origin = origins.entry(Arc::clone(&name)).or_insert_with(|| Origin {
            is_known: (self.is_known)(&name),
            standing: Standing::New,
            window: FIRST_WINDOW,
            trying: 0,
            slow: 0,
        });
        let (is_known, standing) = (origin.is_known, origin.standing);
        let has_share = match is_known {
            true => self.has_share(known, standing),
            false => self.has_strangers_share(strangers, standing, *has_known),
        };
        if origin.trying >= origin.window || !has_share {
            return None;
        }
        origin.trying += 1;
        *state.group(is_known).held(standing) += 1;
        let (pace, heard) = (Pace::Prompt, Heard::Silence);
        Some(Slot { slots: self, origin: name, is_known, standing, pace, heard })
    }

    /// Returns whether one more send may begin to a known origin of that standing.
    fn has_share(&self, known: &Group, standing: Standing) -> bool {
        match standing {
            Standing::New => known.new < self.part(KNOWN_SHARES.0),
            Standing::Silent => known.silent < self.part(KNOWN_SHARES.1),
            Standing::Answers => true,
        }
    }

    /// Returns whether one more send may begin to another origin of that standing.
    fn has_strangers_share(&self, strangers: &Group, standing: Standing, has_known: bool) -> bool {
        let Group { new, answers, silent, .. } = *strangers;
        let (all, unproven, of_silent) = STRANGERS_SHARES;
        (!has_known || new + answers + silent < self.part(all))
            && (standing == Standing::Answers || new + silent < self.part(unproven))
            && (standing != Standing::Silent || silent < self.part(of_silent))
    }

    /// One of that many equal parts of the slots.
    fn part(&self, of: usize) -> usize {
        (self.prompt() / of).max(1)
    }

    /// Waits until a send was slow.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Sends that there may be beside slow ones.
    fn prompt(&self) -> usize {
        self.most - self.slow_places()
    }

    /// Slow sends that there may be: half of all.
    fn slow_places(&self) -> usize {
        if self.most < FEW { 0 } else { self.most / 2 }
    }
}

impl State {
    fn group(&mut self, is_known: bool) -> &mut Group {
        if is_known { &mut self.known } else { &mut self.strangers }
    }
}

impl Group {
    /// The sends that hold a slot, to origins of that standing.
    fn held(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::New => &mut self.new,
            Standing::Answers => &mut self.answers,
            Standing::Silent => &mut self.silent,
        }
    }

    /// A send to an origin of that standing no longer holds a slot.
    fn leave(&mut self, standing: Standing) {
        let held = self.held(standing);
        *held = held.saturating_sub(1);
    }
}

impl Slot<'_> {
    /// Leaves the slot to others, for a place among the slow ones; `false` if there is none, and the send is to be
    /// given up.
    ///
    /// An origin has at most as many of those as are free, so that one that never answers leaves half of them to
    /// others, and two a third. All origins of strangers that gave no answer last time, or none yet, have half; once a
    /// known origin answered, all origins of strangers have.
    pub(super) fn slow_down(&mut self) -> bool {
        if self.slots.most < FEW || self.pace == Pace::Slow {
            return true;
        }
        let mut state = self.slots.state.lock();
        let free = self.slots.slow_places().saturating_sub(state.slow);
        let unproven = self.standing != Standing::Answers;
        let of_strangers = match state.has_known {
            true => state.strangers.slow,
            false if unproven => state.strangers.slow_unproven,
            false => 0,
        };
        if !self.is_known && of_strangers >= self.slots.slow_places() / 2 {
            return false;
        }
        let Some(origin) = state.origins.get_mut(&self.origin).filter(|origin| origin.slow < free) else {
            return false;
        };
        origin.slow += 1;
        state.slow += 1;
        let group = state.group(self.is_known);
        group.leave(self.standing);
        group.slow += 1;
        group.slow_unproven += usize::from(unproven);
        self.pace = Pace::Slow;
        drop(state);
        self.slots.changed.notify_one();
        true
    }

    /// The origin answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.heard = Heard::Answer;
    }

    /// What came of the send is no sign of the origin, which may not have been asked.
    pub(super) fn says_nothing(mut self) {
        self.heard = Heard::Nothing;
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state.lock();
        let slow = usize::from(self.pace == Pace::Slow);
        state.slow = state.slow.saturating_sub(slow);
        let group = state.group(self.is_known);
        if self.pace == Pace::Prompt {
            group.leave(self.standing);
        } else {
            let unproven = usize::from(self.standing != Standing::Answers);
            group.slow = group.slow.saturating_sub(1);
            group.slow_unproven = group.slow_unproven.saturating_sub(unproven);
        }
        state.has_known |= self.is_known && self.heard == Heard::Answer;
        let Some(origin) = state.origins.get_mut(&self.origin) else { return };
        origin.trying = origin.trying.saturating_sub(1);
        origin.slow = origin.slow.saturating_sub(slow);
        (origin.standing, origin.window) = match self.heard {
            Heard::Answer => (Standing::Answers, (origin.window + 1).min(self.slots.most)),
            Heard::Silence => (Standing::Silent, (origin.window / 2).max(1)),
            Heard::Nothing => (origin.standing, origin.window),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many sends as an origin may have.
    fn fill<'a>(slots: &'a Slots, origin: &str) -> Vec<Slot<'a>> {
        std::iter::from_fn(|| slots.enter(origin)).collect()
    }

    fn is_known(origin: &str) -> bool {
        origin.starts_with("known")
    }

    /// A send each to a hundred origins, as far as they are let in.
    fn enter<'a>(slots: &'a Slots, kind: &str) -> Vec<Slot<'a>> {
        (0..100).filter_map(|number| slots.enter(&format!("{kind}-{number}"))).collect()
    }

    #[test]
    fn many_silent_origins_share_a_few_slots_and_those_without_an_answer_a_quarter() {
        let slots = Slots::new(64, is_known);
        slots.enter("good").expect("a slot").answered();
        let new = enter(&slots, "evil");
        assert_eq!(new.len(), 8);
        drop(new);
        // All of those that were let in are silent by now.
        let (silent, new) = (enter(&slots, "evil"), enter(&slots, "other"));
        assert_eq!(silent.iter().filter(|slot| slot.standing == Standing::Silent).count(), 4);
        assert_eq!(silent.len() + new.len(), 8);
        assert_eq!(fill(&slots, "good").len(), FIRST_WINDOW + 1);
        drop((silent, new));
        assert_eq!(slots.state.lock().strangers, Group::default());
    }

    #[test]
    fn strangers_leave_known_services_their_first_window() {
        let slots = Slots::new(64, is_known);
        let mut held = enter(&slots, "evil");
        held.extend(fill(&slots, "more"));
        assert_eq!(held.len(), 8);
        let known = fill(&slots, "known");
        assert_eq!(known.len(), FIRST_WINDOW);
        assert!(slots.has_space(held.len() + known.len()));
        drop((held, known));
        let state = slots.state.lock();
        assert_eq!((&state.known, &state.strangers), (&Group::default(), &Group::default()));
    }

    #[test]
    fn strangers_that_answer_leave_half_to_known_services() {
        let slots = Slots::new(64, is_known);
        (0..20).for_each(|_| slots.enter("slowly").expect("a slot").answered());
        // Where there are no known ones, all slots are for the others.
        let held = fill(&slots, "slowly");
        assert_eq!(held.len(), FIRST_WINDOW + 20);
        held.into_iter().for_each(Slot::answered);
        slots.enter("known").expect("a slot").answered();
        let held = fill(&slots, "slowly");
        assert_eq!((held.len(), fill(&slots, "known").len()), (16, FIRST_WINDOW + 1));
    }

    #[test]
    fn strangers_that_never_answer_leave_slow_places_to_others() {
        let slots = Slots::new(64, is_known);
        let mut kept = Vec::new();
        for _ in 0..8 {
            kept.extend(
                enter(&slots, "evil").into_iter().filter_map(|mut slot| slot.slow_down().then_some(slot)),
            );
        }
        assert_eq!(kept.len(), 16);
        assert!(slots.enter("known").expect("a slot").slow_down());
        drop(kept);
        assert_eq!(slots.state.lock().strangers, Group::default());
    }

    #[test]
    fn strangers_that_answered_once_leave_slow_places_to_known_services() {
        let slots = Slots::new(64, is_known);
        slots.enter("known").expect("a slot").answered();
        let names = (0..40).map(|number| format!("evil-{number}"));
        names.clone().for_each(|name| slots.enter(&name).expect("a slot").answered());
        let slow = names.filter_map(|name| slots.enter(&name));
        let kept: Vec<_> = slow.filter_map(|mut slot| slot.slow_down().then_some(slot)).collect();
        assert_eq!(kept.len(), 16);
        assert!(slots.enter("known").expect("a slot").slow_down());
        drop(kept);
        assert_eq!(slots.state.lock().strangers, Group::default());
    }

    #[test]
    fn only_an_answer_of_a_known_service_bounds_those_of_strangers() {
        let slots = Slots::new(64, is_known);
        (0..20).for_each(|_| slots.enter("slowly").expect("a slot").answered());
        slots.enter("known").expect("a slot").says_nothing();
        drop(slots.enter("known"));
        let held = fill(&slots, "slowly");
        assert_eq!(held.len(), FIRST_WINDOW + 20);
        held.into_iter().for_each(Slot::answered);
        slots.enter("known").expect("a slot").answered();
        assert_eq!(fill(&slots, "slowly").len(), 16);
    }

    #[test]
    fn a_push_that_is_not_sent_says_nothing_of_its_service() {
        let slots = Slots::new(64, is_known);
        (0..50).for_each(|_| slots.enter("a").expect("a slot").says_nothing());
        let first = slots.enter("a").expect("a slot");
        assert_eq!(first.standing, Standing::New);
        first.answered();
        assert_eq!(fill(&slots, "a").len(), FIRST_WINDOW + 1);
    }

    #[test]
    fn an_origin_has_a_window_that_answers_open_and_silence_closes() {
        let slots = Slots::new(64, is_known);
        let first = fill(&slots, "known-a");
        assert_eq!(first.len(), FIRST_WINDOW);
        first.into_iter().for_each(Slot::answered);
        let second = fill(&slots, "known-a");
        assert_eq!(second.len(), 2 * FIRST_WINDOW);
        drop(second);
        assert_eq!((fill(&slots, "known-a").len(), fill(&slots, "known-b").len()), (1, FIRST_WINDOW));
        (0..200).for_each(|_| slots.enter("known-a").expect("a slot").answered());
        assert_eq!(fill(&slots, "known-a").len(), 64);
    }

    #[test]
    fn a_slow_send_leaves_its_slot_to_others() {
        let slots = Slots::new(64, is_known);
        ["a", "b"].iter().for_each(|origin| slots.enter(origin).expect("a slot").answered());
        let mut all: Vec<_> = ["a", "b"].iter().flat_map(|origin| fill(&slots, origin)).collect();
        assert!(!slots.has_space(all.len()));
        assert!(all.iter_mut().take(4).all(Slot::slow_down));
        assert!(slots.has_space(all.len()));
    }

    #[test]
    fn slow_sends_are_bounded_and_one_origin_leaves_places_to_others() {
        let slots = Slots::new(64, is_known);
        (0..64).for_each(|_| slots.enter("a").expect("a slot").answered());
        let mut slow = fill(&slots, "a");
        let kept = slow.iter_mut().filter_map(|slot| slot.slow_down().then_some(())).count();
        assert_eq!((slow.len(), kept), (64, 16));
        let mut other = slots.enter("b").expect("a slot");
        assert!(other.slow_down());
        drop((slow, other));
        assert!(slots.has_space(31) && !slots.has_space(32));
    }

    #[test]
    fn with_few_sends_at_a_time_slow_ones_keep_their_slots() {
        let slots = Slots::new(1, is_known);
        let mut only = slots.enter("a").expect("a slot");
        assert!(only.slow_down() && !slots.has_space(1));
    }

    #[test]
    fn strangers_origins_are_forgotten_before_proven_ones() {
        let slots = Slots::new(64, is_known);
        slots.enter("proven").expect("a slot").answered();
        for number in 0..3 * MOST_ORIGINS {
            drop(slots.enter(&format!("{number}")));
        }
        assert!(slots.state.lock().origins.len() <= MOST_ORIGINS);
        assert_eq!(fill(&slots, "proven").len(), FIRST_WINDOW + 1);
    }
}
