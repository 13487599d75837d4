//! Rate limits: events per time.

use std::{fmt, time::Duration};

/// A rate limit: a number of events per time, and a burst: `100.per_minute()`, `Rate::new(5,
/// Duration::from_secs(1)).burst(10)`.
///
/// The allowance is refilled evenly, one event at a time (generic cell rate algorithm, ITU-T I.371): after a burst of
/// 10 at 5 per second, the next event is allowed after 200 ms.
///
/// ```
/// use std::time::Duration;
///
/// use dialogue::{PerTime, Rate};
///
/// assert_eq!(100.per_minute(), Rate::new(100, Duration::from_secs(60)));
/// assert_eq!(5.per_second().burst(10).to_string(), "5 per 1s, 10 at once");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Duration,
    burst: u32,
}

/// The maximum of a rate's period, and of the time in which its burst is refilled: ten years.
const MAX_PERIOD: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Rate {
    /// Returns a rate of `count` events in each `per`, with a burst of as many. A count of 0 is taken for 1, a period
    /// of 0 for a nanosecond, and one of more than ten years for ten years.
    pub const fn new(count: u32, per: Duration) -> Self {
        let count = if count == 0 { 1 } else { count };
        Rate { count, per, burst: count }
    }

    /// Sets the number of events that are allowed at once; it may be less or more than the number per period.
    #[must_use]
    pub const fn burst(mut self, count: u32) -> Self {
        self.burst = if count == 0 { 1 } else { count };
        self
    }

    /// Returns the number of events that are allowed at once.
    pub fn max_burst(&self) -> u32 {
        // A longer refill is cut to the maximum period.
        let most = MAX_PERIOD.as_nanos() / self.interval().as_nanos().max(1);
        self.burst.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1)
    }

    /// Returns the time in which the allowance is refilled by one event.
    pub fn interval(&self) -> Duration {
        (self.per.min(MAX_PERIOD) / self.count).max(Duration::from_nanos(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {:?}", self.count, self.per)?;
        if self.burst != self.count { write!(f, ", {} at once", self.burst) } else { Ok(()) }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

/// Rates as methods of numbers: `100.per_minute()`.
pub trait PerTime {
    /// Returns a rate of this number per second.
    fn per_second(self) -> Rate;
    /// Returns a rate of this number per minute.
    fn per_minute(self) -> Rate;
    /// Returns a rate of this number per hour.
    fn per_hour(self) -> Rate;
}

impl PerTime for u32 {
    fn per_second(self) -> Rate {
        Rate::new(self, Duration::from_secs(1))
    }

    fn per_minute(self) -> Rate {
        Rate::new(self, Duration::from_secs(60))
    }

    fn per_hour(self) -> Rate {
        Rate::new(self, Duration::from_secs(60 * 60))
    }
}
