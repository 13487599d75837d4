//! The clocks that the rooms of this node read.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::room::RoomTime;
use crate::wall_clock::since_1970;

/// Returns the wall-clock time in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

/// The clock of a room instance, whose monotonic time counts from its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct RoomClock(Instant);

impl RoomClock {
    pub(super) fn start() -> Self {
        RoomClock(Instant::now())
    }

    /// Returns the time for the room's next command.
    pub(super) fn now(self) -> RoomTime {
        RoomTime { unix_ms: unix_ms(), monotonic: self.0.elapsed() }
    }
}

/// Returns the milliseconds of a monotonic clock.
pub(super) fn monotonic_ms() -> u64 {
    monotonic_us() / 1_000
}

/// Returns the microseconds of a monotonic clock, fine enough to order rooms that became empty one after the other.
pub(super) fn monotonic_us() -> u64 {
    u64::try_from(since_start().as_micros()).unwrap_or(u64::MAX)
}

fn since_start() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    #[cfg(test)]
    if let Some(elapsed) = crate::wall_clock::simulated::elapsed() {
        return elapsed;
    }
    START.get_or_init(Instant::now).elapsed()
}
