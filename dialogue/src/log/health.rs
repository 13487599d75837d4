//! The health of the store: a circuit breaker that refuses calls while the store fails.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::journal::with_timeout;
use crate::store::{AnyStore, StoreError};

/// The health of the store. It goes down when the store fails, and up again when a probe succeeds; while it is down,
/// calls fail at once instead of waiting for a timeout.
pub(crate) struct StoreHealth {
    store: Arc<dyn AnyStore>,
    down: AtomicBool,
    /// Set when the store failed for some rooms, and may fail for all.
    suspect: AtomicBool,
    /// The time of the last log line about a failure of some rooms.
    last_logged: Mutex<Option<Instant>>,
    runtime: Handle,
    this: Weak<StoreHealth>,
}

/// The record that a probe writes.
pub(super) const PROBE: &str = "server/probe";
const FIRST_PROBE_DELAY: Duration = Duration::from_millis(100);
const MAX_PROBE_DELAY: Duration = Duration::from_millis(500);
/// The least interval between two log lines about failures of some rooms.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl StoreHealth {
    pub(super) fn new(store: Arc<dyn AnyStore>, runtime: Handle) -> Arc<Self> {
        Arc::new_cyclic(|this| StoreHealth {
            store,
            down: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            last_logged: Mutex::default(),
            runtime,
            this: Weak::clone(this),
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.down.load(Ordering::Acquire)
    }

    /// Handles a failed write.
    pub(super) fn failed(&self, error: &StoreError) {
        if error.is_conflict() {
            return;
        }
        if error.concerns_all() {
            return self.down(error);
        }
        self.suspect.store(true, Ordering::Release);
        if self.may_log() {
            tracing::error!(%error, "the store failed for some rooms");
        }
    }

    /// Returns whether the store has failed for some rooms since the last call.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    /// Writes a record to see whether the store accepts writes.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let writing = self.store.put(vec![(PROBE.to_owned(), Some("up".into()))]);
        with_timeout("write", writing).await
    }

    /// Marks the store as down, and starts to probe it.
    pub(super) fn down(&self, error: &StoreError) {
        if !self.down.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the store fails: events are refused until it recovers");
            self.runtime.spawn(probe(Weak::clone(&self.this)));
        }
    }

    /// Returns whether a room's failure is to be logged: of many at once, only one is.
    pub(super) fn may_log(&self) -> bool {
        let mut last_logged = self.last_logged.lock();
        let may = last_logged.is_none_or(|last_logged| last_logged.elapsed() >= LOG_INTERVAL);
        if may {
            *last_logged = Some(Instant::now());
        }
        may
    }
}

/// Probes the store with backoff until it accepts a write, or is dropped.
async fn probe(health: Weak<StoreHealth>) {
    let mut pause = FIRST_PROBE_DELAY;
    loop {
        // Jittered, so that many servers don't probe at once.
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(MAX_PROBE_DELAY);
        let Some(health) = health.upgrade() else { return };
        if health.probe().await.is_ok() {
            health.down.store(false, Ordering::Release);
            tracing::info!("the store accepts events again");
            return;
        }
    }
}
