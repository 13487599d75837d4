//! The time by which is counted: tokio's, which a test can pause.

use std::{ops::Add, time::Duration};

use governor::{
    RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
};
use tokio::time::Instant;

/// See the [module](self).
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticks;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Instant);

/// Counts by that time.
pub(super) type Counter<K, S> = RateLimiter<K, S, Ticks, NoOpMiddleware<Moment>>;

impl Clock for Ticks {
    type Instant = Moment;

    fn now(&self) -> Moment {
        Moment(Instant::now())
    }
}

impl Add<Nanos> for Moment {
    type Output = Moment;

    fn add(self, time: Nanos) -> Moment {
        // Limits look ten years ahead at most, which is no end of a clock.
        Moment(self.0.checked_add(Duration::from(time)).unwrap_or(self.0))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_duration_since(earlier.0).into()
    }

    fn saturating_sub(&self, time: Nanos) -> Self {
        Moment(self.0.checked_sub(Duration::from(time)).unwrap_or(self.0))
    }
}
