//! The expiry of a token, by the wall clock.
//!
//! The clock is read again at every check and at an interval while waiting. A timer for the whole lifetime would be
//! wrong: it counts monotonic time, which stops while a machine sleeps (`CLOCK_MONOTONIC`), and would extend the token
//! by the sleep.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

/// The interval at which the wall clock is read while waiting: the maximum time by which a connection outlives its
/// token after the machine has slept.
pub(crate) const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The time at which a token expires.
#[derive(Clone)]
pub(crate) struct Expiry {
    at: SystemTime,
    clock: Clock,
}

/// A wall clock: the system's, or that of a test.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Expiry {
    /// Creates an expiry at `at`, by the system's clock.
    pub(super) fn new(at: SystemTime) -> Self {
        Expiry { at, clock: Clock::default() }
    }

    /// Returns the same expiry by another clock.
    pub(super) fn with_clock(self, clock: &Clock) -> Self {
        Expiry { clock: clock.clone(), ..self }
    }

    /// Returns whether the token has expired, which it has from the expiry time on.
    pub(crate) fn has_passed(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits until the token expires.
    pub(crate) async fn wait(&self) {
        loop {
            match self.remaining() {
                Duration::ZERO => return,
                remaining => sleep(remaining.min(CLOCK_CHECK_INTERVAL)).await,
            }
        }
    }

    /// Returns the time until the token expires; zero once it has.
    pub(crate) fn remaining(&self) -> Duration {
        self.at.duration_since(self.clock.now()).unwrap_or_default()
    }
}

impl Clock {
    #[cfg(test)]
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Clock(Some(Arc::new(now)))
    }

    fn now(&self) -> SystemTime {
        self.0.as_ref().map_or_else(SystemTime::now, |now| now())
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expiry").field(&self.at).finish()
    }
}
