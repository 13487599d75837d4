//! Numbers that many tasks add to at once: each addition is one atomic instruction, and orders nothing.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::Value;

/// Only goes up.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

/// Goes up and down.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicI64);

/// How long things took: how many within each bound, and all together.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// In nanoseconds, each included; what takes longer is in the last bucket.
const BOUNDS: [u64; 15] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
];

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(super) fn read(&self) -> Value {
        Value::Count(self.0.load(Relaxed))
    }
}

impl Gauge {
    pub(super) fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    pub(super) fn read(&self) -> Value {
        // A number of connections or rooms, far below 2^53.
        Value::Level(self.0.load(Relaxed) as f64)
    }
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn read(&self) -> Value {
        let bounds = BOUNDS.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64());
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let sum = Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64();
        Value::Spread { sum, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Value::Spread { sum, buckets } = histogram.read() else { panic!("a spread") };
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0001, 2), (0.00025, 1), (5.0, 1), (f64::INFINITY, 1)]);
        assert!((sum - 10.000_202).abs() < 1e-9, "{sum}");
    }
}
