//! Whether the store can be reached.

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

use super::journal::within;
use crate::store::{AnyStore, StoreError};

/// Goes down when the store fails, and up again once it takes something: meanwhile nobody waits for it in vain.
pub(crate) struct Health {
    store: Arc<dyn AnyStore>,
    down: AtomicBool,
    /// It failed for some rooms, and may for all.
    suspect: AtomicBool,
    /// When a failure of some rooms alone was last told in the program's log.
    told: Mutex<Option<Instant>>,
    runtime: Handle,
    this: Weak<Health>,
}

/// The record that is written to see whether the store takes something.
pub(super) const PROBE: &str = "server/probe";
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Between two lines in the program's log on failures of some rooms alone.
const QUIET: Duration = Duration::from_secs(10);

impl Health {
    pub(super) fn new(store: Arc<dyn AnyStore>, runtime: Handle) -> Arc<Self> {
        Arc::new_cyclic(|this| Health {
            store,
            down: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            told: Mutex::default(),
            runtime,
            this: Weak::clone(this),
        })
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.down.load(Ordering::Acquire)
    }

    /// The store failed to take something.
    pub(super) fn failed(&self, error: &StoreError) {
        if error.is_conflict() {
            return;
        }
        if error.concerns_all() {
            return self.down(error);
        }
        self.suspect.store(true, Ordering::Release);
        if self.may_tell() {
            tracing::error!(%error, "the store failed for some rooms");
        }
    }

    /// Whether it failed for some rooms since this was asked last.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.swap(false, Ordering::AcqRel)
    }

    /// Has the store take something.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let writing = self.store.put(vec![(PROBE.to_owned(), Some("up".into()))]);
        within("write", writing).await
    }

    /// The store takes nothing.
    pub(super) fn down(&self, error: &StoreError) {
        if !self.down.swap(true, Ordering::AcqRel) {
            tracing::error!(%error, "the store takes nothing: events are refused until it does");
            self.runtime.spawn(probe(Weak::clone(&self.this)));
        }
    }

    /// Whether what went wrong with a room is to be told: of many at once, one is.
    pub(super) fn may_tell(&self) -> bool {
        let mut told = self.told.lock();
        let may = told.is_none_or(|told| told.elapsed() >= QUIET);
        if may {
            *told = Some(Instant::now());
        }
        may
    }
}

/// Tries until the store takes something, or nobody needs it any more.
async fn probe(health: Weak<Health>) {
    let mut pause = FIRST_PAUSE;
    loop {
        // So that many servers don't come back at once.
        sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Some(health) = health.upgrade() else { return };
        if health.probe().await.is_ok() {
            health.down.store(false, Ordering::Release);
            tracing::info!("the store takes events again");
            return;
        }
    }
}
