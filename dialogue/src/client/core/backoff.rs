//! Delays between retries, used for connections, joins and streams: exponential backoff with equal jitter, described in
//! "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).

use std::time::Duration;

/// Exponential backoff with equal jitter: half of each delay is fixed and half is random, so that the clients of a
/// failed server do not reconnect in synchrony.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let min = min.max(Duration::from_millis(1));
        Backoff { min, max: max.max(min), attempts: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Returns the next delay and doubles the one after it, up to the maximum.
    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempts.min(20));
        self.attempts = self.attempts.saturating_add(1);
        let step = self.min.saturating_mul(factor).min(self.max);
        step / 2 + (step / 2).mul_f64(rng.f64())
    }

    /// Advances the backoff by `attempts` failures.
    pub(crate) fn penalise(&mut self, attempts: u32) {
        self.attempts = self.attempts.saturating_add(attempts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_start_over() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next(&mut rng);
            assert!(delay >= Duration::from_millis(step / 2) && delay <= Duration::from_millis(step));
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
    }
}
