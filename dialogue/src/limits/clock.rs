//! A clock for `governor` that reads tokio's time, which tests can pause.

use std::{ops::Add, time::Duration};

use governor::{
    RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
};
use tokio::time::Instant;

/// Tokio's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokioClock;

/// An instant of [`TokioClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TokioInstant(Instant);

/// A rate limiter (GCRA) on [`TokioClock`].
pub(super) type GcraLimiter<K, S> = RateLimiter<K, S, TokioClock, NoOpMiddleware<TokioInstant>>;

impl Clock for TokioClock {
    type Instant = TokioInstant;

    fn now(&self) -> TokioInstant {
        TokioInstant(Instant::now())
    }
}

impl Add<Nanos> for TokioInstant {
    type Output = TokioInstant;

    fn add(self, time: Nanos) -> TokioInstant {
        // Rates reach at most ten years into the future, which no clock overflows on.
        TokioInstant(self.0.checked_add(Duration::from(time)).unwrap_or(self.0))
    }
}

impl Reference for TokioInstant {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, time: Nanos) -> Self {
        TokioInstant(self.0.checked_sub(Duration::from(time)).unwrap_or(self.0))
    }
}
