//! The clocks that the rooms of this node read.

use std::{sync::OnceLock, time::SystemTime};

use tokio::time::Instant;

use super::room::RoomTime;

/// Returns the wall-clock time in Unix milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time for a room's next command.
pub(super) fn room_time() -> RoomTime {
    RoomTime { unix_ms: unix_ms(), monotonic: start().elapsed() }
}

/// Returns the milliseconds of a monotonic clock.
pub(super) fn monotonic_ms() -> u64 {
    monotonic_us() / 1_000
}

/// Returns the microseconds of a monotonic clock, fine enough to order rooms that became empty one after the other.
pub(super) fn monotonic_us() -> u64 {
    u64::try_from(start().elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Returns the moment from which the monotonic clock counts.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
