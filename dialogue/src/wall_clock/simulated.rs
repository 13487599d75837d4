//! The wall clock of a simulation: that of the paused runtime, from a fixed moment on.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// Seconds since 1970 at the begin of a simulation.
pub(super) const BEGIN: u64 = 1_700_000_000;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// The clock of this thread is simulated until this is dropped.
pub(crate) struct SimulatedClock(());

impl SimulatedClock {
    pub(crate) fn start() -> Self {
        BEGUN.set(Some(Instant::now()));
        LAST.set(0);
        SimulatedClock(())
    }
}

impl Drop for SimulatedClock {
    fn drop(&mut self) {
        BEGUN.set(None);
    }
}

/// Returns the time since the begin of the simulation, if this thread has one.
pub(crate) fn elapsed() -> Option<Duration> {
    BEGUN.get().map(|begun| begun.elapsed())
}

pub(super) fn unique_us() -> u64 {
    let now = u64::try_from(super::since_1970().as_micros()).unwrap_or(u64::MAX);
    LAST.set(now.max(LAST.get() + 1));
    LAST.get()
}
