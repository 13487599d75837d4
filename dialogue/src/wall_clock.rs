//! The wall clock, in one place: a simulation has a clock of its own.

#[cfg(test)]
pub(crate) mod simulated;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Returns the time since 1970.
pub(crate) fn since_1970() -> Duration {
    #[cfg(test)]
    if let Some(elapsed) = simulated::elapsed() {
        return Duration::from_secs(simulated::BEGIN) + elapsed;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the time in microseconds since 1970, or a little more, so that no number comes twice in this process.
pub(crate) fn unique_us() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    #[cfg(test)]
    if simulated::elapsed().is_some() {
        return simulated::unique_us();
    }
    let now = u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX);
    // A clock that is set back must not give a number twice.
    let last = LAST.fetch_max(now, Ordering::Relaxed);
    if last < now { now } else { LAST.fetch_add(1, Ordering::Relaxed) + 1 }
}
