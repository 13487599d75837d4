//! What the clients saw of each room, held against the promises of the protocol.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    application::{CHAT_RETAINED, DELETED_ROOM, RETAINED},
    frame::Position,
};
use crate::store::StoredEvent;

/// What is known of the rooms from the outside.
#[derive(Debug, Default)]
pub(super) struct Truth {
    rooms: BTreeMap<&'static str, RoomTruth>,
    trace: Trace,
    /// What happened, in the order in which it happened, if the [`Trace`] is kept.
    pub(super) lines: Vec<String>,
    pub(super) violations: Vec<String>,
    pub(super) counts: Counts,
}

/// What is made of the lines of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trace {
    #[default]
    Dropped,
    Kept,
    Printed,
}

/// What happened in a run, to show that it wasn't empty.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) accepted: usize,
    pub(super) delivered: usize,
    pub(super) complete: usize,
    pub(super) lost: usize,
    pub(super) refused: usize,
    pub(super) faults: usize,
    pub(super) deleted: usize,
    pub(super) duplicates: usize,
    pub(super) records_lost: usize,
    pub(super) reused_epochs: usize,
    /// Members who were told that their room was deleted.
    pub(super) told_deleted: usize,
    /// Members of that room who were moved to its next instance.
    pub(super) moved: usize,
    /// Events without a number that were received.
    pub(super) ephemeral: usize,
}

/// The last deletion of a room.
#[derive(Debug, Default, Clone, Copy)]
enum Deletion {
    #[default]
    None,
    Running,
    EndedAt(Instant),
}

#[derive(Debug, Default)]
struct RoomTruth {
    /// The event at each number of each epoch: its id and text.
    seen: BTreeMap<String, BTreeMap<u64, (String, String)>>,
    /// The epochs that clients were told.
    epochs: BTreeSet<String>,
    /// The epochs of deleted logs that were given again.
    reused_epochs: BTreeSet<String>,
    /// How often something happened that may begin an epoch.
    breaks: usize,
    /// The text of an event that was accepted, with its number and id.
    accepted: BTreeMap<String, (u64, String)>,
    /// The ids of events that the store lost.
    lost: BTreeSet<String>,
    /// The ids of each text that was received, and when each was first.
    ids: BTreeMap<String, Vec<(String, Instant)>>,
    deletion: Deletion,
}

/// The time after a deletion in which an event may be answered that was in the deleted log: as long as calls over a slow
/// link take.
const ANSWER_TIME: Duration = Duration::from_secs(12);

/// More events of a log than a few failovers lose.
const MAX_LOST: u64 = 20;

impl Deletion {
    /// Returns whether an event of `since` may have been deleted, and accepted or sent again.
    fn concerns(self, since: Instant) -> bool {
        match self {
            Deletion::None => false,
            Deletion::Running => true,
            Deletion::EndedAt(at) => since <= at + ANSWER_TIME,
        }
    }

    /// Returns whether nodes may still know the room as it was before.
    fn is_recent(self) -> bool {
        self.concerns(Instant::now())
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.complete += other.complete;
        self.lost += other.lost;
        self.refused += other.refused;
        self.faults += other.faults;
        self.deleted += other.deleted;
        self.duplicates += other.duplicates;
        self.records_lost += other.records_lost;
        self.reused_epochs += other.reused_epochs;
        self.told_deleted += other.told_deleted;
        self.moved += other.moved;
        self.ephemeral += other.ephemeral;
    }

    /// Returns whether everything happened.
    pub(super) fn is_eventful(&self) -> bool {
        let Counts { accepted, delivered, complete, lost, refused, .. } = *self;
        let Counts { faults, deleted, duplicates, records_lost, ephemeral, .. } = *self;
        let answers = [accepted, delivered, complete, lost, refused, duplicates];
        answers.into_iter().chain([faults, deleted, records_lost, ephemeral]).all(|count| count > 0)
    }
}

impl Truth {
    pub(super) fn new(trace: Trace) -> Self {
        Truth { trace, ..Truth::default() }
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        match self.trace {
            Trace::Dropped => {}
            Trace::Kept => self.lines.push(line()),
            Trace::Printed => println!("{}", line()),
        }
    }

    /// Returns a hash of all that happened.
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lines.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn violated(&mut self, what: String) {
        self.note(|| format!("VIOLATED: {what}"));
        self.violations.push(what);
    }

    /// A client received the event at `at`.
    pub(super) fn received(&mut self, room: &'static str, at: &Position, text: &str) {
        self.counts.delivered += 1;
        let truth = self.rooms.entry(room).or_default();
        let Position { epoch, seq, event_id } = at;
        if !truth.seen.contains_key(epoch) {
            truth.seen.insert(epoch.clone(), BTreeMap::new());
        }
        let seen = truth.seen.get_mut(epoch).expect("it was added");
        let first = seen.entry(*seq).or_insert_with(|| (event_id.clone(), text.to_owned()));
        let mut violations = Vec::new();
        if first.0 != *event_id || first.1 != text {
            // A node that knows neither of a deletion nor of any event before it begins the log with its epoch again.
            let ids = truth.ids.get(&first.1).into_iter().flatten();
            if ids.filter(|(id, _)| *id == first.0).any(|(_, since)| truth.deletion.concerns(*since))
                && truth.reused_epochs.insert(epoch.clone())
            {
                self.counts.reused_epochs += 1;
            }
            // What the store lost may have been seen by some, who learn of it by another epoch.
            if truth.lost.contains(&first.0) || truth.reused_epochs.contains(epoch) {
                *first = (event_id.clone(), text.to_owned());
            } else if !truth.lost.contains(event_id) {
                violations.push(format!("{room} {epoch}/{seq} is {first:?} and {event_id} {text}"));
            }
        }
        // An event that is sent again after its room was deleted, or after it was lost, is another. A node that doesn't
        // know of that may still send the first.
        if !truth.ids.contains_key(text) {
            truth.ids.insert(text.to_owned(), Vec::new());
        }
        let ids = truth.ids.get_mut(text).expect("it was added");
        if !ids.iter().any(|(id, _)| id == event_id) {
            let is_lost = |id: &String| truth.lost.contains(id);
            if let Some((known, since)) = ids.last()
                && !(is_lost(known) || is_lost(event_id) || truth.deletion.concerns(*since))
            {
                violations.push(format!("{room}: {text} is {known} and {event_id}"));
            }
            ids.push((event_id.clone(), Instant::now()));
        }
        violations.into_iter().for_each(|what| self.violated(what));
    }

    /// A client was told an epoch of a room.
    pub(super) fn began(&mut self, room: &'static str, epoch: &str) {
        let epochs = &mut self.rooms.entry(room).or_default().epochs;
        if !epochs.contains(epoch) {
            epochs.insert(epoch.to_owned());
        }
    }

    /// A client was told that the log no longer holds what follows `before`.
    pub(super) fn told_lost(
        &mut self,
        room: &'static str,
        user: &str,
        before: Option<&Position>,
        head: &Position,
    ) {
        self.counts.lost += 1;
        let Some(before) = before.filter(|before| before.epoch == head.epoch) else { return };
        let retained = if room == DELETED_ROOM { RETAINED } else { CHAT_RETAINED };
        // The log was trimmed when it was longer, by events that the store lost since.
        let is_trimmed = before.seq + retained < head.seq + MAX_LOST;
        let is_reused = self.rooms[room].reused_epochs.contains(&head.epoch);
        // A node that had no event of a deleted room gives its epoch again to one that is empty.
        let is_begun_again = room == DELETED_ROOM && head.seq < before.seq;
        if !is_trimmed && !is_reused && !is_begun_again && !self.is_lost(room, &before.event_id) {
            self.violated(format!(
                "{user} is told that {room} lost {before:?}, whose log goes on to {head:?}"
            ));
        }
    }

    /// Returns whether an event that was accepted at `since` is still in its log, unless that was trimmed.
    pub(super) fn is_kept(&self, room: &str, event_id: &str, since: Instant) -> bool {
        !self.is_lost(room, event_id)
            && !self.rooms.get(room).is_some_and(|truth| truth.deletion.concerns(since))
    }

    /// Returns whether the store lost an event.
    pub(super) fn is_lost(&self, room: &str, event_id: &str) -> bool {
        self.rooms.get(room).is_some_and(|truth| truth.lost.contains(event_id))
    }

    /// An event was accepted, or is a duplicate of one that was.
    pub(super) fn accepted(
        &mut self,
        room: &'static str,
        text: &str,
        (seq, event_id): (u64, &str),
        is_duplicate: bool,
    ) {
        self.counts.accepted += 1;
        self.counts.duplicates += usize::from(is_duplicate);
        let truth = self.rooms.entry(room).or_default();
        if truth.deletion.is_recent() {
            return;
        }
        let event = (seq, event_id.to_owned());
        let Some(first) = truth.accepted.get_mut(text) else {
            truth.accepted.insert(text.to_owned(), event);
            return;
        };
        let first = std::mem::replace(first, event.clone());
        if (first != event || !is_duplicate) && !truth.lost.contains(&first.1) {
            let what = format!("{room}: {text} was accepted as {first:?} and as {event:?} ({is_duplicate})");
            self.violated(what);
        }
    }

    /// The store lost events.
    pub(super) fn lost(&mut self, room: &'static str, events: &[StoredEvent]) {
        let truth = self.rooms.entry(room).or_default();
        truth.breaks += usize::from(!events.is_empty());
        truth.lost.extend(events.iter().map(|event| event.event_id.as_str().to_owned()));
    }

    /// The store lost records.
    pub(super) fn lost_records(&mut self) {
        self.counts.records_lost += 1;
        self.rooms.values_mut().for_each(|truth| truth.breaks += 1);
    }

    /// A room is deleted from now on, or, if that `is_over`, was or may have been.
    pub(super) fn deleted(&mut self, room: &'static str, is_over: bool) {
        self.counts.deleted += usize::from(is_over);
        let truth = self.rooms.entry(room).or_default();
        truth.breaks += usize::from(is_over);
        truth.accepted.clear();
        truth.deletion = if is_over { Deletion::EndedAt(Instant::now()) } else { Deletion::Running };
    }

    /// Compares what was accepted with the log in the end.
    pub(super) fn compare(&mut self, room: &'static str, log: &[(u64, String, String)]) {
        let truth = self.rooms.remove(room).unwrap_or_default();
        let first = log.first().map_or(0, |(seq, ..)| *seq);
        // A node that reads the new epoch before it notices the loss in its own log begins another.
        if truth.epochs.len() > 1 + 2 * truth.breaks {
            let (epochs, breaks) = (&truth.epochs, truth.breaks);
            self.violated(format!("{room} had the epochs {epochs:?}, for {breaks} reasons"));
        }
        for pair in log.windows(2) {
            if pair[1].0 != pair[0].0 + 1 {
                self.violated(format!("{room}: the log has a hole after {}", pair[0].0));
            }
        }
        let mut by_text = BTreeMap::new();
        for (seq, event_id, text) in log {
            if let Some(other) = by_text.insert(text.as_str(), (*seq, event_id.clone())) {
                self.violated(format!("{room}: {text} is in the log at {other:?} and at {seq}"));
            }
        }
        for (text, (seq, event_id)) in &truth.accepted {
            let is_kept = *seq >= first && !truth.lost.contains(event_id);
            if is_kept && by_text.get(text.as_str()) != Some(&(*seq, event_id.clone())) {
                let found = by_text.get(text.as_str());
                self.violated(format!(
                    "{room}: {text} was accepted at {seq} ({event_id}), the log has {found:?}"
                ));
            }
        }
    }
}
