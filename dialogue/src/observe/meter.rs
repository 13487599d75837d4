//! The metrics of one declared room, all of its instances together, and the [`Meter`] through which its code reports to
//! them.

use std::{sync::Arc, time::Instant};

use super::{
    MetricValue, Series,
    instrument::{Counter, Gauge, Histogram},
    labels::{Source, TriggerOutcome},
    refusal_counters::RefusalCounters,
};
use crate::{
    Refusal,
    wire::{EventIndex, frame::ResumeOutcome},
};

/// Reports to the metrics of a declared room. On a server without metrics each call is one check of an `Option`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Option<Arc<RoomMetrics>>);

#[derive(Debug)]
pub(super) struct RoomMetrics {
    pub(super) name: &'static str,
    events: Vec<EventMetrics>,
    triggers: [[Counter; TriggerOutcome::ALL.len()]; Source::TRIGGERS.len()],
    resumes: [Counter; ResumeOutcome::ALL.len()],
    deliveries: Counter,
    skipped: Counter,
    backfills: Counter,
    refusals: Arc<RefusalCounters>,
    size: Gauge,
    instances: Gauge,
}

/// The metrics of one event of a room. Aligned to 128 bytes against false sharing: counters of events that are busy at
/// once lie in different cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct EventMetrics {
    name: &'static str,
    accepted: Counter,
    latency: Histogram,
}

impl Meter {
    /// Returns the meter of a room that carries `events`, in their order.
    pub(super) fn new(
        name: &'static str,
        events: impl Iterator<Item = &'static str>,
        refusals: Arc<RefusalCounters>,
    ) -> Self {
        let of = |name| EventMetrics { name, accepted: Counter::default(), latency: Histogram::default() };
        Meter(Some(Arc::new(RoomMetrics {
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

    pub(super) fn metrics(&self) -> Option<&Arc<RoomMetrics>> {
        self.0.as_ref()
    }

    /// Counts an event that is in the log, or is of a class that isn't logged. Events of other nodes are counted there.
    pub(crate) fn accepted(&self, event: EventIndex, source: Source) {
        let Some(room) = self.0.as_ref().filter(|_| source != Source::Node) else { return };
        room.trigger(source, TriggerOutcome::Accepted);
        if let Some(event) = event.entry_of(&room.events) {
            event.accepted.add(1);
        }
    }

    /// Counts a repeated event: its idempotency key is that of one that the log has already.
    pub(crate) fn duplicate(&self, source: Source) {
        if let Some(room) = &self.0 {
            room.trigger(source, TriggerOutcome::Duplicate);
        }
    }

    /// Counts an event that was refused. The refusal itself is counted where its sender is answered.
    pub(crate) fn refused(&self, source: Source, refusal: &Refusal) {
        if let Some(room) = &self.0 {
            room.trigger(source, TriggerOutcome::of(refusal.code));
        }
    }

    /// Counts an event that was refused, and the refusal, as no request that is counted elsewhere waits for it.
    pub(crate) fn refused_later(&self, source: Source, refusal: &Refusal) {
        if let Some(room) = &self.0 {
            room.trigger(source, TriggerOutcome::of(refusal.code));
            room.refusals.count(source, refusal.code);
        }
    }

    /// Counts `deliveries`, and records the latency of each event that is now written to all local subscriptions, by
    /// the time at which it was received.
    pub(crate) fn delivered(&self, origins: &[(EventIndex, Instant)], deliveries: u64) {
        let Some(room) = &self.0 else { return };
        room.deliveries.add(deliveries);
        if origins.is_empty() {
            return;
        }
        let now = Instant::now();
        for (event, received_at) in origins {
            if let Some(event) = event.entry_of(&room.events) {
                event.latency.observe(now.saturating_duration_since(*received_at));
            }
        }
    }

    /// Counts an ephemeral event that is skipped for a slow reader.
    pub(crate) fn skipped(&self) {
        if let Some(room) = &self.0 {
            room.skipped.add(1);
        }
    }

    /// Counts a read of the log for events of other nodes that may have been missed.
    pub(crate) fn backfilled(&self) {
        if let Some(room) = &self.0 {
            room.backfills.add(1);
        }
    }

    pub(crate) fn resumed(&self, resumed: ResumeOutcome) {
        if let Some(room) = &self.0
            && let Some(index) = ResumeOutcome::ALL.iter().position(|other| *other == resumed)
            && let Some(counter) = room.resumes.get(index)
        {
            counter.add(1);
        }
    }

    /// Records a change of the number of connections in a room instance.
    pub(crate) fn resized(&self, before: usize, now: usize) {
        if let Some(room) = &self.0 {
            let signed = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
            room.size.add(signed(now) - signed(before));
        }
    }

    /// Counts a room instance until the returned guard is dropped.
    pub(crate) fn count_instance(&self) -> RoomInstanceGuard {
        self.0.iter().for_each(|room| room.instances.add(1));
        RoomInstanceGuard(self.clone())
    }
}

/// Counts a room instance: see [`Meter::count_instance`].
#[derive(Debug)]
pub(crate) struct RoomInstanceGuard(Meter);

impl Drop for RoomInstanceGuard {
    fn drop(&mut self) {
        self.0.0.iter().for_each(|room| room.instances.add(-1));
    }
}

impl RoomMetrics {
    fn trigger(&self, source: Source, outcome: TriggerOutcome) {
        let source = Source::TRIGGERS.iter().position(|other| *other == source);
        if let Some(counters) = source.and_then(|index| self.triggers.get(index))
            && let Some(counter) = counters.get(outcome.index())
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
            let outcomes = TriggerOutcome::ALL.iter().zip(counters);
            outcomes
                .map(move |(outcome, counter)| self.series([source.label(), outcome.label()], counter.read()))
        })
    }

    pub(super) fn resumes(&self) -> impl Iterator<Item = Series> {
        let outcomes = ResumeOutcome::ALL.iter().zip(&self.resumes);
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

    fn series<const N: usize>(&self, rest: [&'static str; N], value: MetricValue) -> Series {
        Series::new([self.name].into_iter().chain(rest).collect(), value)
    }
}
