//! The body of a response, and the stall timeout of HTTP/2 streams.
//!
//! In HTTP/1 a response that the client doesn't read blocks its connection, whose timeout ends it. In HTTP/2 a client
//! may keep the flow-control window of a stream at zero while the connection is alive (RFC 9113, section 5.2): hyper
//! then doesn't poll the body, which can't notice that by itself. So the task of each stream watches the progress of
//! its response.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    channel::tcp::{ActiveRequest, ConnectionActivity, ConnectionTimeouts},
    engine::ResponseBudget,
};

/// The maximum bytes that are handed to hyper at once, and so the maximum that it buffers for a client that reads
/// nothing.
pub(super) const MAX_CHUNK_BYTES: usize = 16 << 10;
/// The stall timeout of responses while the response budget is under pressure.
pub(super) const PRESSURED_STALL_TIMEOUT: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// The progress of the HTTP/2 stream that the task serves.
    static PROGRESS: Arc<StreamProgress>;
}

/// The executor of the streams of an HTTP/2 connection. It resets a stream whose client reads nothing for too long.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    traffic: Arc<ConnectionActivity>,
    timeouts: ConnectionTimeouts,
    budget: Arc<ResponseBudget>,
}

impl StreamExecutor {
    pub(super) fn new(
        traffic: &Arc<ConnectionActivity>,
        timeouts: ConnectionTimeouts,
        budget: &Arc<ResponseBudget>,
    ) -> Self {
        StreamExecutor { traffic: Arc::clone(traffic), timeouts, budget: Arc::clone(budget) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let (active, progress) = (self.traffic.keep_active(), Arc::new(StreamProgress::default()));
        let (timeouts, budget) = (self.timeouts, Arc::clone(&self.budget));
        tokio::spawn(PROGRESS.scope(Arc::clone(&progress), async move {
            // hyper resets a stream whose future is dropped.
            tokio::select! {
                _ = stream => {}
                () = progress.stalled(timeouts, &budget) => {}
            }
            drop(active);
        }));
    }
}

/// The progress of the response on one HTTP/2 stream.
#[derive(Debug, Default)]
struct StreamProgress {
    unread: Mutex<Unread>,
    /// Notified when the response starts.
    started: Notify,
}

/// The state of the part of a response that the client has not read yet.
#[derive(Debug, Default)]
struct Unread {
    /// The time since which the client has read nothing; `None` while there is nothing to read.
    since: Option<Instant>,
    is_stream: bool,
}

impl StreamProgress {
    /// Returns once the client has read nothing for the timeout that applies.
    async fn stalled(&self, timeouts: ConnectionTimeouts, budget: &ResponseBudget) {
        loop {
            let now = Instant::now();
            let deadline = {
                let unread = self.unread.lock();
                unread.since.map(|since| match unread.is_stream {
                    true => since + timeouts.stream,
                    false if budget.is_under_pressure() => {
                        since + timeouts.response.min(PRESSURED_STALL_TIMEOUT)
                    }
                    false => since + timeouts.response,
                })
            };
            match deadline {
                Some(deadline) if deadline <= now => return,
                // At least once per second, as the pressure on the budget may change.
                Some(deadline) => sleep_until(deadline.min(now + PRESSURED_STALL_TIMEOUT)).await,
                // No deadline of a response that starts meanwhile is earlier than this.
                None => drop(
                    timeout(timeouts.response.max(PRESSURED_STALL_TIMEOUT), self.started.notified()).await,
                ),
            }
        }
    }

    fn start(&self, is_stream: bool) {
        *self.unread.lock() = Unread { since: Some(Instant::now()), is_stream };
        self.started.notify_one();
    }

    fn set_unread_since(&self, since: Option<Instant>) {
        self.unread.lock().since = since;
    }
}

/// The body of a response. Its connection isn't idle until this is dropped.
pub(super) struct ResponseBody {
    body: Body,
    /// The rest of a long chunk, which is passed on in pieces.
    rest: Bytes,
    /// Chunks of an event stream are passed on whole: its outbox is bounded.
    is_stream: bool,
    /// The progress of the HTTP/2 stream; `None` on HTTP/1.
    progress: Option<Arc<StreamProgress>>,
    _active: ActiveRequest,
}

impl ResponseBody {
    /// Wraps the body of a response, in the task that handles the request.
    pub(super) fn new(body: Body, active: ActiveRequest, is_stream: bool) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        if let Some(progress) = &progress {
            progress.start(is_stream);
        }
        ResponseBody { body, rest: Bytes::new(), is_stream, progress, _active: active }
    }

    /// Notes whether the client has something to read.
    fn set_unread(&self, is_unread: bool) {
        if let Some(progress) = &self.progress {
            progress.set_unread_since(is_unread.then(Instant::now));
        }
    }

    /// Returns the next piece of `rest`. The last one is a copy, since a slice would keep the whole chunk in memory.
    fn next_piece(&mut self) -> Bytes {
        if self.rest.len() > MAX_CHUNK_BYTES {
            return self.rest.split_to(MAX_CHUNK_BYTES);
        }
        Bytes::copy_from_slice(&std::mem::take(&mut self.rest))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            self.set_unread(true);
            return Poll::Ready(Some(Ok(Frame::data(self.next_piece()))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.set_unread(matches!(polled, Poll::Ready(Some(_))));
        polled.map(|frame| {
            Some(frame?.map(|frame| match frame.into_data() {
                Ok(data) if data.len() > MAX_CHUNK_BYTES && !self.is_stream => {
                    self.rest = data;
                    Frame::data(self.next_piece())
                }
                Ok(data) => Frame::data(data),
                Err(frame) => frame,
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
