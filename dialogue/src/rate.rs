//! How often something may happen.

use std::{fmt, time::Duration};

/// So many in a time, and so many at once: `100.per_minute()`, `Rate::new(5, Duration::from_secs(1)).burst(10)`.
///
/// What is allowed comes back evenly, one at a time (the generic cell rate algorithm, ITU-T I.371): after a burst of 10 at
/// 5 per second, the next may come after 200 ms.
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

/// The longest time of a [`Rate`], and in which its burst comes back.
#[cfg(feature = "server")]
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl Rate {
    /// `count` in each `per`, and as many at once. None is taken for 1, no time for a nanosecond, and more than ten years
    /// for ten years.
    pub const fn new(count: u32, per: Duration) -> Self {
        let count = if count == 0 { 1 } else { count };
        Rate { count, per, burst: count }
    }

    /// At most `count` at once: fewer or more than come back in the time.
    #[must_use]
    pub const fn burst(mut self, count: u32) -> Self {
        self.burst = if count == 0 { 1 } else { count };
        self
    }

    /// How many at once.
    #[cfg(feature = "server")]
    pub(crate) fn at_once(&self) -> u32 {
        // What takes longer to come back than the longest time can't be told from it.
        let most = LONGEST.as_nanos() / self.interval().as_nanos().max(1);
        self.burst.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1)
    }

    /// After how long one comes back.
    #[cfg(feature = "server")]
    pub(crate) fn interval(&self) -> Duration {
        (self.per.min(LONGEST) / self.count).max(Duration::from_nanos(1))
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

/// A number in a time: `100.per_minute()`.
pub trait PerTime {
    /// So many in each second.
    fn per_second(self) -> Rate;
    /// So many in each minute.
    fn per_minute(self) -> Rate;
    /// So many in each hour.
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
