//! The delays between attempts to connect: exponential backoff with jitter.

use std::time::Duration;

/// Exponential backoff with equal jitter: half of each step is certain, half is chance, so that the clients of a server
/// that went away don't come back in step.
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

    /// The next delay.
    pub(crate) fn next(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempts.min(20));
        self.attempts = self.attempts.saturating_add(1);
        let step = self.min.saturating_mul(factor).min(self.max);
        step / 2 + (step / 2).mul_f64(rng.f64())
    }

    /// Goes on as after `attempts` more failures.
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
