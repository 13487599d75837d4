//! The graceful shutdown of a node (drain).
//!
//! A drain goes in two steps: first it waits until no session or request may publish any more
//! ([`Drain::publishers_done`]), so that every acknowledged event is with its room; then connections are sent away, and
//! it waits until all [`DrainGuard`]s are dropped.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{Code, Refusal, limits::ConnectionPermit};

/// The state of the node's drain: see the [module](self).
pub(crate) struct Drain {
    started: watch::Sender<bool>,
    /// The same value as an atomic, since it is read with every frame.
    is_on: AtomicBool,
    /// The number of [`DrainGuard`]s.
    guards: AtomicUsize,
    last_guard_dropped: Notify,
    /// The number of [`PublishGuard`]s.
    publishers: watch::Sender<usize>,
    /// The maximum time that the first step takes.
    publisher_timeout: Duration,
}

/// Keeps a drain waiting until it is dropped: held by each connection, and by each task that must not be cut off.
pub(crate) struct DrainGuard {
    drain: Arc<Drain>,
    /// The connection's slot under the bound of its address.
    _slot: Option<ConnectionPermit>,
}

/// Keeps the first step of a drain waiting until it is dropped: held by sessions and requests that may publish events.
pub(crate) struct PublishGuard(Arc<Drain>);

/// The maximum time that a drain waits for sessions and requests that publish events.
const MAX_PUBLISHER_DRAIN: Duration = Duration::from_secs(5);
/// The range of the delays after which the clients of a draining node reconnect, in milliseconds.
const RECONNECT_SPREAD_MS: u64 = 3_000;

impl Drain {
    /// Returns the state of a node that does not drain. `drain_timeout` is the time that a whole drain may take.
    pub(crate) fn new(drain_timeout: Duration) -> Arc<Self> {
        Arc::new(Drain {
            started: watch::Sender::new(false),
            is_on: AtomicBool::new(false),
            guards: AtomicUsize::new(0),
            last_guard_dropped: Notify::new(),
            publishers: watch::Sender::new(0),
            publisher_timeout: MAX_PUBLISHER_DRAIN.min(drain_timeout / 2),
        })
    }

    /// Returns whether the node drains.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::SeqCst)
    }

    /// Starts the drain: new work is refused from now on, and connections are sent away.
    pub(crate) fn start(&self) {
        self.is_on.store(true, Ordering::SeqCst);
        self.started.send_replace(true);
    }

    /// Waits until draining starts.
    pub(crate) fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut started = self.started.subscribe();
        async move {
            // It fails only if the sender is dropped, whose owner, the engine, outlives the callers.
            let _ = started.wait_for(|started| *started).await.map(drop);
        }
    }

    /// Waits until all drain guards are dropped.
    pub(crate) async fn finished(&self) {
        loop {
            let dropped = self.last_guard_dropped.notified();
            tokio::pin!(dropped);
            dropped.as_mut().enable();
            if self.guards.load(Ordering::Acquire) == 0 {
                return;
            }
            dropped.await;
        }
    }

    /// Returns a guard that keeps a drain waiting.
    pub(crate) fn guard(self: &Arc<Self>) -> DrainGuard {
        self.guards.fetch_add(1, Ordering::AcqRel);
        DrainGuard { drain: Arc::clone(self), _slot: None }
    }

    /// Returns the drain guard of a new connection.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the node drains.
    pub(crate) fn admit_connection(self: &Arc<Self>, slot: ConnectionPermit) -> Result<DrainGuard, Refusal> {
        let mut guard = self.guard();
        guard._slot = Some(slot);
        // After the guard exists: a drain that starts now waits for it.
        if self.is_on() {
            return Err(draining());
        }
        Ok(guard)
    }

    /// Returns a guard for a session or request that may publish events. The caller checks after this whether the node
    /// drains, so that a drain that starts in between waits for it.
    pub(crate) fn publish_guard(self: &Arc<Self>) -> PublishGuard {
        self.publishers.send_modify(|publishers| *publishers += 1);
        PublishGuard(Arc::clone(self))
    }

    /// Waits until the node drains and all publish guards are dropped, for at most [`MAX_PUBLISHER_DRAIN`] and half of
    /// the drain timeout. All acknowledged events are then with their rooms: a connection that is sent its rooms'
    /// events up to now misses none of them. Events of later publishers reach it when it has reconnected.
    pub(crate) fn publishers_done(&self) -> impl Future<Output = ()> + Send + 'static {
        let (started, mut publishers) = (self.started(), self.publishers.subscribe());
        let limit = self.publisher_timeout;
        async move {
            started.await;
            let done = async { publishers.wait_for(|publishers| *publishers == 0).await.map(drop) };
            let _ = timeout(limit, done).await;
        }
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        if self.drain.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.drain.last_guard_dropped.notify_waiters();
        }
    }
}

impl Drop for PublishGuard {
    fn drop(&mut self) {
        self.0.publishers.send_modify(|publishers| *publishers -= 1);
    }
}

/// Returns the delay after which a client of a draining node reconnects: random, so that the clients don't arrive at
/// the other nodes all at once (jitter).
pub(crate) fn reconnect_delay_ms() -> u64 {
    fastrand::u64(..RECONNECT_SPREAD_MS)
}

/// Returns the refusal of new work on a draining node.
pub(crate) fn draining() -> Refusal {
    Refusal::new(Code::Unavailable, "this node is draining; try another, or again in a moment")
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("is_on", &self.is_on).finish_non_exhaustive()
    }
}
