//! How long deliveries took.

/// A log-linear histogram of nanoseconds: 64 steps to a power of two, so that it is off by less than 1.6 %.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

const STEPS: u64 = 64;

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { buckets: vec![0; 64 * STEPS as usize], count: 0 }
    }

    pub(crate) fn add(&mut self, nanoseconds: u64) {
        self.buckets[index(nanoseconds)] += 1;
        self.count += 1;
    }

    /// In microseconds; 0 if nothing was added.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |index| value(index as u64) as f64 / 1_000.0)
    }
}

fn index(value: u64) -> usize {
    let shift = (value | 1).ilog2().saturating_sub(STEPS.ilog2());
    let base = if value < STEPS { 0 } else { u64::from(shift) * STEPS };
    (base + (value >> shift)) as usize
}

fn value(index: u64) -> u64 {
    if index < 2 * STEPS { index } else { (index % STEPS + STEPS) << (index / STEPS - 1) }
}
