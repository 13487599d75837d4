//! When a token ends: by the wall clock, read anew each time.
//!
//! A timer counts monotonic time, which stands still while a machine sleeps (`CLOCK_MONOTONIC`): one that was set when
//! a connection opened would prolong the connection's token by the sleep.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

/// Interval at which a timer reads the wall clock: the longest time that a token outlives a machine's sleep on a
/// connection whose client sends nothing.
pub(crate) const LOOK_AT_CLOCK: Duration = Duration::from_secs(5);

/// The end of a token.
#[derive(Clone)]
pub(crate) struct Expiry {
    at: SystemTime,
    clock: Clock,
}

/// A wall clock: the system's, unless a test has its own.
#[derive(Clone, Default)]
pub(crate) struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Expiry {
    /// The end at `at`, by the system's clock.
    pub(super) fn new(at: SystemTime) -> Self {
        Expiry { at, clock: Clock::default() }
    }

    /// The same by another clock.
    pub(super) fn by(self, clock: &Clock) -> Self {
        Expiry { clock: clock.clone(), ..self }
    }

    /// Returns whether the token has expired; at the moment of `exp` it has.
    pub(crate) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits until the token is over.
    pub(crate) async fn passed(&self) {
        loop {
            match self.left() {
                Duration::ZERO => return,
                left => sleep(left.min(LOOK_AT_CLOCK)).await,
            }
        }
    }

    /// The time that is left of the token.
    pub(crate) fn left(&self) -> Duration {
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
