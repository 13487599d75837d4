//! What is measured of one declared room, all of its instances together.

use std::{sync::Arc, time::Instant};

use super::{
    Series, Source, Value,
    instrument::{Counter, Gauge, Histogram},
    measures::{Outcome, Refusals},
};
use crate::Refusal;

/// Measures a room, or nothing where nobody looks: then all that it does is to see that.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Option<Arc<RoomMeasures>>);

/// What a join got of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    Fresh,
    Complete,
    Lost,
}

#[derive(Debug)]
pub(super) struct RoomMeasures {
    pub(super) name: &'static str,
    events: Vec<EventMeasures>,
    triggers: [[Counter; Outcome::ALL.len()]; Source::TRIGGERS.len()],
    resumes: [Counter; Resumed::ALL.len()],
    deliveries: Counter,
    skipped: Counter,
    backfills: Counter,
    refusals: Arc<Refusals>,
    size: Gauge,
    instances: Gauge,
}

/// Aligned, so that rooms which are busy at once don't wait for each other's cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct EventMeasures {
    name: &'static str,
    accepted: Counter,
    latency: Histogram,
}

impl Resumed {
    const ALL: [Resumed; 3] = [Resumed::Fresh, Resumed::Complete, Resumed::Lost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Resumed::Fresh => "fresh",
            Resumed::Complete => "complete",
            Resumed::Lost => "lost",
        }
    }
}

impl Meter {
    /// Of a room that carries `events`, in their order.
    pub(super) fn new(
        name: &'static str,
        events: impl Iterator<Item = &'static str>,
        refusals: Arc<Refusals>,
    ) -> Self {
        let of = |name| EventMeasures { name, accepted: Counter::default(), latency: Histogram::default() };
        Meter(Some(Arc::new(RoomMeasures {
            name,
            events: events.map(of).collect(),
            triggers: Default::default(),
            resumes: Default::default(),
            deliveries: Counter::default(),
            skipped: Counter::default(),
            backfills: Counter::default(),
            refusals,
            size: Gauge::default(),
            instances: Gauge::default(),
        })))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn measures(&self) -> Option<&Arc<RoomMeasures>> {
        self.0.as_ref()
    }

    /// An event is in the log, or needs none.
    pub(crate) fn accepted(&self, event: u8, source: Source) {
        let Some(room) = self.0.as_ref().filter(|_| source != Source::Peer) else { return };
        room.trigger(source, Outcome::Accepted);
        if let Some(event) = room.events.get(usize::from(event)) {
            event.accepted.add(1);
        }
    }

    /// An event was in the log before.
    pub(crate) fn duplicate(&self, source: Source) {
        if let Some(room) = &self.0 {
            room.trigger(source, Outcome::Duplicate);
        }
    }

    /// An event doesn't get into the room.
    pub(crate) fn refused(&self, source: Source, refusal: &Refusal) {
        if let Some(room) = &self.0 {
            room.trigger(source, Outcome::of(refusal.code));
        }
    }

    /// The same, of an event whose sender is answered only now.
    pub(crate) fn turned_down(&self, source: Source, refusal: &Refusal) {
        if let Some(room) = &self.0 {
            room.trigger(source, Outcome::of(refusal.code));
            room.refusals.count(source, refusal.code);
        }
    }

    /// Events that came in then are written to all readers now, and were handed to so many.
    pub(crate) fn delivered(&self, origins: &[(u8, Instant)], handed: u64) {
        let Some(room) = &self.0 else { return };
        room.deliveries.add(handed);
        if origins.is_empty() {
            return;
        }
        let now = Instant::now();
        for (event, at) in origins {
            if let Some(event) = room.events.get(usize::from(*event)) {
                event.latency.observe(now.saturating_duration_since(*at));
            }
        }
    }

    /// A reader doesn't get an ephemeral event.
    pub(crate) fn skipped(&self) {
        if let Some(room) = &self.0 {
            room.skipped.add(1);
        }
    }

    /// What other instances put into the room is looked for in its log, as it may have been missed.
    pub(crate) fn backfilled(&self) {
        if let Some(room) = &self.0 {
            room.backfills.add(1);
        }
    }

    pub(crate) fn resumed(&self, resumed: Resumed) {
        if let Some(room) = &self.0
            && let Some(place) = Resumed::ALL.iter().position(|other| *other == resumed)
            && let Some(counter) = room.resumes.get(place)
        {
            counter.add(1);
        }
    }

    /// So many connections more or fewer are in an instance.
    pub(crate) fn resized(&self, before: usize, now: usize) {
        if let Some(room) = &self.0 {
            let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
            room.size.add(signed(now) - signed(before));
        }
    }

    /// There is one instance more, for as long as what this yields is kept.
    pub(crate) fn instance(&self) -> Counted {
        self.0.iter().for_each(|room| room.instances.add(1));
        Counted(self.clone())
    }
}

/// See [`Meter::instance`].
#[derive(Debug)]
pub(crate) struct Counted(Meter);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.iter().for_each(|room| room.instances.add(-1));
    }
}

impl RoomMeasures {
    fn trigger(&self, source: Source, outcome: Outcome) {
        let source = Source::TRIGGERS.iter().position(|other| *other == source);
        if let Some(counters) = source.and_then(|place| self.triggers.get(place))
            && let Some(counter) = counters.get(outcome.place())
        {
            counter.add(1);
        }
    }

    pub(super) fn events(&self) -> impl Iterator<Item = Series> {
        self.events.iter().map(|event| self.series([event.name], event.accepted.read()))
    }

    pub(super) fn latencies(&self) -> impl Iterator<Item = Series> {
        self.events.iter().map(|event| self.series([event.name], event.latency.read()))
    }

    pub(super) fn triggers(&self) -> impl Iterator<Item = Series> {
        Source::TRIGGERS.iter().zip(&self.triggers).flat_map(move |(source, counters)| {
            let outcomes = Outcome::ALL.iter().zip(counters);
            outcomes
                .map(move |(outcome, counter)| self.series([source.label(), outcome.label()], counter.read()))
        })
    }

    pub(super) fn resumes(&self) -> impl Iterator<Item = Series> {
        let outcomes = Resumed::ALL.iter().zip(&self.resumes);
        outcomes.map(|(resumed, counter)| self.series([resumed.name()], counter.read()))
    }

    pub(super) fn deliveries(&self) -> impl Iterator<Item = Series> {
        [self.series([], self.deliveries.read())].into_iter()
    }

    pub(super) fn skips(&self) -> impl Iterator<Item = Series> {
        [self.series([], self.skipped.read())].into_iter()
    }

    pub(super) fn backfills(&self) -> impl Iterator<Item = Series> {
        [self.series([], self.backfills.read())].into_iter()
    }

    pub(super) fn size(&self) -> impl Iterator<Item = Series> {
        [self.series([], self.size.read())].into_iter()
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = Series> {
        [self.series([], self.instances.read())].into_iter()
    }

    fn series<const N: usize>(&self, rest: [&'static str; N], value: Value) -> Series {
        Series { labels: [self.name].into_iter().chain(rest).collect(), value }
    }
}
