//! What the clients saw of each room, held against the promises of the protocol.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::store::StoredEvent;

/// What is known of the rooms from the outside.
#[derive(Debug, Default)]
pub(super) struct Truth {
    rooms: BTreeMap<&'static str, RoomTruth>,
    /// The epochs by name, in the order of their appearance.
    epochs: BTreeMap<String, usize>,
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
}

#[derive(Debug, Default)]
struct RoomTruth {
    /// The event at each number of each epoch.
    seen: BTreeMap<(String, u64), (String, String)>,
    /// The text of an event that was accepted, with its number and id.
    accepted: BTreeMap<String, (u64, String)>,
    /// The ids of events that the store lost.
    lost: BTreeSet<String>,
    /// The id of each text that was received.
    ids: BTreeMap<String, String>,
    /// When the room was deleted.
    deleted_at: Option<Instant>,
}

/// The time after a deletion in which an event may be answered that was in the deleted log: as long as calls over a slow
/// link take.
const ANSWER_TIME: Duration = Duration::from_secs(12);

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.complete += other.complete;
        self.lost += other.lost;
        self.refused += other.refused;
        self.faults += other.faults;
        self.deleted += other.deleted;
    }

    /// Returns whether everything happened.
    pub(super) fn is_eventful(&self) -> bool {
        let Counts { accepted, delivered, complete, lost, refused, faults, deleted } = *self;
        [accepted, delivered, complete, lost, refused, faults, deleted].iter().all(|count| *count > 0)
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

    /// Notes a frame, in which an epoch is a small number.
    pub(super) fn note_frame(&mut self, user: &str, frame: &Value) {
        if self.trace == Trace::Dropped {
            return;
        }
        let mut frame = frame.clone();
        if let Some(epoch) = frame["epoch"].as_str() {
            let next = self.epochs.len();
            let epoch = *self.epochs.entry(epoch.to_owned()).or_insert(next);
            frame["epoch"] = epoch.into();
        }
        self.note(|| format!("{user} < {frame}"));
    }

    pub(super) fn violated(&mut self, what: String) {
        self.note(|| format!("VIOLATED: {what}"));
        self.violations.push(what);
    }

    /// A client received an event.
    pub(super) fn received(&mut self, room: &'static str, epoch: &str, seq: u64, event_id: &str, text: &str) {
        self.counts.delivered += 1;
        let event = (event_id.to_owned(), text.to_owned());
        let truth = self.rooms.entry(room).or_default();
        let first = truth.seen.entry((epoch.to_owned(), seq)).or_insert_with(|| event.clone());
        // What the store lost may have been seen by some, who learn of it by another epoch. The others never had it.
        if truth.lost.contains(&first.0) {
            *first = event.clone();
        }
        let first = first.clone();
        // An event that is sent again after its room was deleted, or after it was lost, is another.
        let known = truth.ids.insert(text.to_owned(), event_id.to_owned());
        let changed = known.filter(|known| known != event_id && !truth.lost.contains(known));
        let changed = changed.filter(|_| truth.deleted_at.is_none() && !truth.lost.contains(event_id));
        if first != event && !truth.lost.contains(event_id) {
            self.violated(format!("{room} {epoch}/{seq} is {first:?} and {event:?}"));
        }
        if let Some(known) = changed {
            self.violated(format!("{room}: {text} is {known} and {event_id}"));
        }
    }

    /// Returns whether the store lost an event.
    pub(super) fn is_lost(&self, room: &str, event_id: &str) -> bool {
        self.rooms.get(room).is_some_and(|truth| truth.lost.contains(event_id))
    }

    /// An event was accepted.
    pub(super) fn accepted(&mut self, room: &'static str, text: &str, seq: u64, event_id: &str) {
        self.counts.accepted += 1;
        let truth = self.rooms.entry(room).or_default();
        if truth.deleted_at.is_some_and(|at| at.elapsed() < ANSWER_TIME) {
            return;
        }
        let event = (seq, event_id.to_owned());
        let first = truth.accepted.entry(text.to_owned()).or_insert_with(|| event.clone()).clone();
        if first != event {
            self.violated(format!("{room}: {text} was accepted as {first:?} and as {event:?}"));
        }
    }

    /// The store lost events.
    pub(super) fn lost(&mut self, room: &'static str, events: &[StoredEvent]) {
        let lost = events.iter().map(|event| event.event_id.as_str().to_owned());
        self.rooms.entry(room).or_default().lost.extend(lost);
    }

    /// The room was deleted with its log, or may have been.
    pub(super) fn deleted(&mut self, room: &'static str) {
        self.counts.deleted += 1;
        let truth = self.rooms.entry(room).or_default();
        truth.accepted.clear();
        truth.deleted_at = Some(Instant::now());
    }

    /// Compares what was accepted with the log in the end.
    pub(super) fn compare(&mut self, room: &'static str, log: &[(u64, String, String)]) {
        let truth = self.rooms.remove(room).unwrap_or_default();
        let first = log.first().map_or(0, |(seq, ..)| *seq);
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
