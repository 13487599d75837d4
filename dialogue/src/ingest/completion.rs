//! The future of an event's ingest, which completes an event that is with its room even if its caller is cancelled.

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

use super::state::Ingest;
use crate::{Code, Refusal, middleware::Flow};

/// The rest of the ingest of an event with hooks, middleware or push.
///
/// # Cancel safety
///
/// The future runs in the task that awaits it, so that an event costs no task of its own. It is dropped when an HTTP
/// client disconnects or a socket closes. If the event isn't with its room by then, the event is discarded. If it is, a
/// task of its own runs the rest, for at most [`DETACHED_TIMEOUT`] beside the time that the room waits for its log, and
/// at most [`MAX_DETACHED`](super::detached::MAX_DETACHED) of them at a time.
#[must_use = "nothing is published until this is awaited"]
pub(super) struct CompletedOnDrop {
    ingest: Arc<Ingest>,
    /// Set once the event is handed to its room.
    is_submitted: Arc<AtomicBool>,
    /// The maximum time that the room holds the event while its log can't be written.
    wait: Duration,
    work: Option<Pin<Box<dyn Future<Output = Flow> + Send>>>,
}

/// The timeout of an ingest without a caller, beside the time that its room waits for the log.
const DETACHED_TIMEOUT: Duration = Duration::from_secs(60);

impl CompletedOnDrop {
    pub(super) fn new(
        ingest: &Arc<Ingest>,
        is_submitted: &Arc<AtomicBool>,
        wait: Duration,
        work: impl Future<Output = Flow> + Send + 'static,
    ) -> Self {
        let (ingest, is_submitted) = (Arc::clone(ingest), Arc::clone(is_submitted));
        CompletedOnDrop { ingest, is_submitted, wait, work: Some(Box::pin(work)) }
    }
}

impl Future for CompletedOnDrop {
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

impl Drop for CompletedOnDrop {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if !self.is_submitted.load(Ordering::Relaxed) {
            return;
        }
        let Some(permit) = self.ingest.detached.acquire() else { return };
        let (guard, limit) = (self.ingest.drain.guard(), DETACHED_TIMEOUT.saturating_add(self.wait));
        self.ingest.registry.spawn(async move {
            // Nothing waits for the outcome.
            let _ = timeout(limit, work).await;
            drop((permit, guard));
        });
    }
}

impl fmt::Debug for CompletedOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletedOnDrop").field("is_submitted", &self.is_submitted).finish_non_exhaustive()
    }
}
