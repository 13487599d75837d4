//! The way of an event into its room, which the event outlives its sender on.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::timeout;
use tracing::{Instrument, Span};

use super::Engine;
use crate::{Code, Refusal, gate::Flow};

/// The way of an event through hooks and middleware into its room's log, and what they do afterwards.
///
/// It runs in the task that awaits it, so that an event costs no task. If it is dropped while the event isn't with the
/// log, the event is given up. Once it is with the log, the rest belongs to the event, and a task of its own does it:
/// the sender's future is dropped as an HTTP client goes away, or a socket closes.
#[must_use = "nothing is put anywhere until this is awaited"]
pub(crate) struct Underway {
    engine: Arc<Engine>,
    at_log: Arc<AtomicBool>,
    /// The time that the room may hold the event while its log can't be written.
    wait: Duration,
    way: Option<Pin<Box<dyn Future<Output = Flow> + Send>>>,
}

/// Timeout of a way that is finished without its sender, beside the time that its room holds events.
const FINISH_WITHIN: Duration = Duration::from_secs(60);
/// Ways that are finished without their senders at a time; beyond, what is left of them is given up.
pub(super) const FINISHING: usize = 4_096;

impl Underway {
    pub(super) fn new(
        engine: &Arc<Engine>,
        at_log: Arc<AtomicBool>,
        wait: Option<Duration>,
        way: impl Future<Output = Flow> + Send + 'static,
    ) -> Self {
        let (engine, wait) = (Arc::clone(engine), wait.unwrap_or_default());
        Underway { engine, at_log, wait, way: Some(Box::pin(way)) }
    }
}

impl Future for Underway {
    type Output = Flow;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(way) = &mut self.way else {
            return Poll::Ready(Err(Refusal::new(Code::Internal, "internal error")));
        };
        let flow = way.as_mut().poll(cx);
        if flow.is_ready() {
            self.way = None;
        }
        flow
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        let Some(way) = self.way.take() else { return };
        if !self.at_log.load(Ordering::Relaxed) {
            return;
        }
        let too_much = &self.engine.finishes_too_much;
        let Ok(permit) = Arc::clone(&self.engine.finishing).try_acquire_owned() else {
            if !too_much.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    most = FINISHING,
                    "the part of middleware after `next.run()` is given up for events without a sender: it takes too long"
                );
            }
            return;
        };
        too_much.store(false, Ordering::Relaxed);
        // A drain waits for it.
        let (counted, within) = (self.engine.count(), FINISH_WITHIN.saturating_add(self.wait));
        self.engine.registry.spawn(
            async move {
                // The outcome has no receiver any more.
                let _ = timeout(within, way).await;
                drop((permit, counted));
            }
            .instrument(Span::current()),
        );
    }
}

impl fmt::Debug for Underway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Underway").field("at_log", &self.at_log).finish_non_exhaustive()
    }
}
