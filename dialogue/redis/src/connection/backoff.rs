//! The delays between attempts to connect: exponential backoff with
//! [equal jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).

use std::time::Duration;

/// An endless sequence of delays that doubles from [`MIN_DELAY`] to [`MAX_DELAY`]. Half of each delay is random, so
/// that nodes that lost a server together don't reconnect at the same moment.
#[derive(Debug)]
pub(crate) struct ReconnectBackoff(Duration);

const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(1);

impl ReconnectBackoff {
    pub(crate) fn new() -> Self {
        ReconnectBackoff(MIN_DELAY)
    }

    /// Returns the delay before the next attempt.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let delay = self.0;
        self.0 = (delay * 2).min(MAX_DELAY);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_a_bound_and_differ() {
        let mut backoff = ReconnectBackoff::new();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] <= MIN_DELAY && delays[0] >= MIN_DELAY / 2);
        assert!(delays[10..].iter().all(|delay| *delay <= MAX_DELAY && *delay >= MAX_DELAY / 2));
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
