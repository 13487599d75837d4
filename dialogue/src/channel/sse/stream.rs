//! The response body of an event stream: the bytes of its outbox, and a keep-alive comment while that is empty.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

use super::session_task::SessionTask;
use crate::{
    drain::DrainGuard,
    engine::Engine,
    live::Outbox,
    observe::CloseReason,
    session::Session,
    wire::frame::{self, ServerFrame},
};

/// The body of an event stream. Dropping it ends the stream's session, and with it the client's memberships.
pub(super) struct SseBody {
    outbox: Arc<Outbox>,
    keep_alive: Pin<Box<Sleep>>,
    /// Completes in a drain, when all acknowledged events of the rooms are in the outbox; `None` after that.
    drained: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Set once the stream ends with the bytes that are in the outbox.
    is_ending: bool,
    session_task: SessionTask,
}

/// The interval of keep-alive comments.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The maximum bytes that are handed to hyper at once.
const MAX_CHUNK_BYTES: usize = 64 << 10;
/// The minimum delay before a browser reconnects.
const MIN_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The range of the random part of that delay (jitter), so that the clients of a crashed node don't reconnect all at
/// once.
const RETRY_SPREAD: Duration = Duration::from_secs(4);

impl SseBody {
    pub(super) fn new(engine: &Engine, outbox: Arc<Outbox>, session: Session, guard: DrainGuard) -> Self {
        let (publishers_done, caught_up) = (engine.drain.publishers_done(), session.caught_up());
        let drained = async move {
            publishers_done.await;
            caught_up.await;
        };
        SseBody {
            keep_alive: Box::pin(sleep(KEEP_ALIVE_INTERVAL)),
            drained: Some(Box::pin(drained)),
            is_ending: false,
            session_task: SessionTask::new(
                engine,
                &outbox,
                session,
                guard,
                engine.bounds.connections.stall_timeout(),
            ),
            outbox,
        }
    }

    /// Returns the first bytes of a stream: the delay of a later reconnect.
    pub(super) fn opening() -> Bytes {
        format!("retry: {}\n\n", retry_delay().as_millis()).into()
    }

    /// Wraps bytes so that the outbox learns when they are written: hyper drops them then.
    fn with_write_report(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(ReportedBytes { bytes, outbox: Arc::clone(&self.outbox) })
    }

    /// Asks the client to reconnect after a random delay: at another node, as this one drains.
    fn send_reconnect(&self) {
        let after_ms = crate::drain::reconnect_delay_ms();
        // For browsers, which don't parse the event.
        self.outbox.send_raw([format!("retry: {after_ms}\n").into()]);
        self.outbox.send(&frame::Reconnect { after_ms }.encode(None));
    }
}

/// Returns a random delay before a browser reconnects.
pub(super) fn retry_delay() -> Duration {
    MIN_RETRY_DELAY + RETRY_SPREAD.mul_f64(fastrand::f64())
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.session_task.note_poll();
        let is_drained = self.drained.as_mut().is_some_and(|drained| drained.as_mut().poll(cx).is_ready());
        if is_drained {
            self.drained = None;
            self.is_ending = true;
            self.session_task.end(CloseReason::Draining);
            self.send_reconnect();
        }
        let mut chunks = Vec::new();
        match self.outbox.poll_take(cx, MAX_CHUNK_BYTES, &mut chunks) {
            Poll::Ready(Ok(())) => {
                return Poll::Ready(Some(Ok(Frame::data(self.with_write_report(join(chunks))))));
            }
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending if self.is_ending => return Poll::Ready(None),
            Poll::Pending => {}
        }
        ready!(self.keep_alive.as_mut().poll(cx));
        self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE_INTERVAL);
        self.outbox.note_handed();
        Poll::Ready(Some(Ok(Frame::data(self.with_write_report(Bytes::from_static(b": alive\n\n"))))))
    }
}

/// Bytes that report to the outbox when they are dropped: see [`SseBody::with_write_report`].
struct ReportedBytes {
    bytes: Bytes,
    outbox: Arc<Outbox>,
}

impl AsRef<[u8]> for ReportedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for ReportedBytes {
    fn drop(&mut self) {
        self.outbox.note_written();
    }
}

fn join(mut chunks: Vec<Bytes>) -> Bytes {
    if let [_] = chunks.as_slice() {
        return chunks.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
    joined.freeze()
}

impl fmt::Debug for SseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseBody").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}
