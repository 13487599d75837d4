//! Counters, gauges and histograms that many tasks update at once. Each update is one relaxed atomic addition, or two
//! for a histogram: it orders no other memory access.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::MetricValue;

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicI64);

/// A histogram of durations: a count for each bucket, and their sum.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKET_BOUNDS_NANOS.len() + 1],
    nanos: AtomicU64,
}

/// The upper bounds of the buckets in nanoseconds, each inclusive; the last bucket, without a bound, takes longer
/// durations.
const BUCKET_BOUNDS_NANOS: [u64; 15] = [
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

    pub(super) fn read(&self) -> MetricValue {
        MetricValue::Counter(self.0.load(Relaxed))
    }
}

impl Gauge {
    pub(super) fn add(&self, change: i64) {
        self.0.fetch_add(change, Relaxed);
    }

    pub(super) fn read(&self) -> MetricValue {
        // Exact: a number of connections or rooms is far below 2^53.
        MetricValue::Gauge(self.0.load(Relaxed) as f64)
    }
}

impl Histogram {
    pub(super) fn observe(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket_index = BUCKET_BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        if let Some(bucket) = self.buckets.get(bucket_index) {
            bucket.fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn read(&self) -> MetricValue {
        let bounds = BUCKET_BOUNDS_NANOS.iter().map(|nanos| Duration::from_nanos(*nanos).as_secs_f64());
        let counts = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let buckets = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let sum = Duration::from_nanos(self.nanos.load(Relaxed)).as_secs_f64();
        MetricValue::Histogram { sum, buckets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_equal_to_a_bound_counts_in_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let MetricValue::Histogram { sum, buckets } = histogram.read() else { panic!("not a histogram") };
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0001, 2), (0.00025, 1), (5.0, 1), (f64::INFINITY, 1)]);
        assert!((sum - 10.000_202).abs() < 1e-9, "{sum}");
    }
}
