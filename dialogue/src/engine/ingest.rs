//! The future of an event's ingest, which completes an event that is with the log even if its caller is cancelled.

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
use crate::{Code, Refusal, middleware::Flow};

/// The ingest of an event: hooks and middleware, the append to its room's log, and the code of hooks and middleware
/// after it.
///
/// # Cancel safety
///
/// The future runs in the task that awaits it, so that an event costs no task of its own. It is dropped when an HTTP
/// client disconnects or a socket closes. If the event isn't with the log by then, the event is discarded. If it is, a
/// task of its own runs the rest, for at most [`DETACHED_TIMEOUT`] beside the time that the room waits for its log, and
/// at most [`MAX_DETACHED`] of them at a time.
#[must_use = "nothing is published until this is awaited"]
pub(crate) struct IngestFuture {
    engine: Arc<Engine>,
    /// Set once the event was handed to the log.
    at_log: Arc<AtomicBool>,
    /// The maximum time that the room holds the event while its log can't be written.
    wait: Duration,
    work: Option<Pin<Box<dyn Future<Output = Flow> + Send>>>,
}

/// The timeout of an ingest without a caller, beside the time that its room waits for the log.
const DETACHED_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum number of ingests without callers; the rest of further ones is dropped.
pub(super) const MAX_DETACHED: usize = 4_096;

impl IngestFuture {
    pub(super) fn new(
        engine: &Arc<Engine>,
        at_log: Arc<AtomicBool>,
        wait: Option<Duration>,
        work: impl Future<Output = Flow> + Send + 'static,
    ) -> Self {
        let (engine, wait) = (Arc::clone(engine), wait.unwrap_or_default());
        IngestFuture { engine, at_log, wait, work: Some(Box::pin(work)) }
    }
}

impl Future for IngestFuture {
    type Output = Flow;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(Err(Refusal::new(Code::Internal, "internal error")));
        };
        let flow = work.as_mut().poll(cx);
        if flow.is_ready() {
            self.work = None;
        }
        flow
    }
}

impl Drop for IngestFuture {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if !self.at_log.load(Ordering::Relaxed) {
            return;
        }
        let bound_logged = &self.engine.detached_bound_logged;
        let Ok(permit) = Arc::clone(&self.engine.detached_ingests).try_acquire_owned() else {
            if !bound_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    max = MAX_DETACHED,
                    "the part of middleware after `next.run()` is dropped for events whose senders disconnected: it takes too long"
                );
            }
            return;
        };
        bound_logged.store(false, Ordering::Relaxed);
        let (guard, limit) = (self.engine.drain_guard(), DETACHED_TIMEOUT.saturating_add(self.wait));
        self.engine.registry.spawn(
            async move {
                // Nothing waits for the outcome.
                let _ = timeout(limit, work).await;
                drop((permit, guard));
            }
            .instrument(Span::current()),
        );
    }
}

impl fmt::Debug for IngestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestFuture").field("at_log", &self.at_log).finish_non_exhaustive()
    }
}
