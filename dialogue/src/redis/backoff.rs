//! The pauses between attempts to connect.

use std::time::Duration;

/// Doubles from [`FIRST`] to [`LONGEST`], without end; half of each pause is chance, so that many instances don't come
/// back at one moment.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff(FIRST)
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let mut backoff = Backoff::new();
        let pauses: Vec<_> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses[10..].iter().all(|pause| *pause <= LONGEST && *pause >= LONGEST / 2));
        assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
