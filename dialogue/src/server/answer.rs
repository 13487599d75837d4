//! The body of an answer, and the streams of HTTP/2 whose clients take nothing.
//!
//! In HTTP/1 an answer that isn't taken blocks its connection. In HTTP/2 a client may leave a stream's window shut
//! while the connection lives: nothing is asked of the body then, which can't find that out by itself.

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
    engine::Responses,
    tcp::{ActiveRequest, ConnectionActivity, ConnectionTimeouts},
};

/// Bytes that are handed to HTTP at once, and so at most held by it for a client that takes nothing.
pub(super) const PIECE: usize = 16 << 10;
/// How long a client may take nothing while too many answers wait for theirs.
pub(super) const HASTE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Of the stream of HTTP/2 that the task serves.
    static TAKEN: Arc<Taken>;
}

/// Runs the streams of a connection of HTTP/2, and resets those whose clients take nothing.
#[derive(Clone)]
pub(super) struct Streams {
    traffic: Arc<ConnectionActivity>,
    patience: ConnectionTimeouts,
    responses: Arc<Responses>,
}

impl Streams {
    pub(super) fn new(
        traffic: &Arc<ConnectionActivity>,
        patience: ConnectionTimeouts,
        responses: &Arc<Responses>,
    ) -> Self {
        Streams { traffic: Arc::clone(traffic), patience, responses: Arc::clone(responses) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let (active, taken) = (self.traffic.keep_active(), Arc::new(Taken::default()));
        let (patience, responses) = (self.patience, Arc::clone(&self.responses));
        tokio::spawn(TAKEN.scope(Arc::clone(&taken), async move {
            // A stream that is dropped is reset.
            tokio::select! {
                _ = stream => {}
                () = taken.stalled(patience, &responses) => {}
            }
            drop(active);
        }));
    }
}

/// The progress of one answer.
#[derive(Debug, Default)]
struct Taken {
    waiting: Mutex<Waiting>,
    /// There is an answer.
    answered: Notify,
}

/// The wait of an answer for its client.
#[derive(Debug, Default)]
struct Waiting {
    /// Since when the client takes nothing; `None` while there is nothing to take.
    since: Option<Instant>,
    streams: bool,
}

impl Taken {
    /// Returns once the client has taken nothing for as long as it may.
    async fn stalled(&self, patience: ConnectionTimeouts, responses: &Responses) {
        loop {
            let now = Instant::now();
            let due = {
                let waiting = self.waiting.lock();
                waiting.since.map(|since| match waiting.streams {
                    true => since + patience.stream,
                    false if responses.are_many() => since + patience.response.min(HASTE),
                    false => since + patience.response,
                })
            };
            match due {
                Some(due) if due <= now => return,
                Some(due) => sleep_until(due.min(now + HASTE)).await,
                // A wait that begins meanwhile is not late before then.
                None => drop(timeout(patience.response.max(HASTE), self.answered.notified()).await),
            }
        }
    }

    fn begin(&self, streams: bool) {
        *self.waiting.lock() = Waiting { since: Some(Instant::now()), streams };
        self.answered.notify_one();
    }

    fn waits(&self, since: Option<Instant>) {
        self.waiting.lock().since = since;
    }
}

/// The body of an answer, while which the connection isn't idle.
pub(super) struct Answer {
    body: Body,
    /// The rest of a long chunk, which is handed on in pieces.
    rest: Bytes,
    /// An event stream is handed on as it comes: its outbox is bounded.
    streams: bool,
    /// The stream of HTTP/2 that it goes to.
    taken: Option<Arc<Taken>>,
    _active: ActiveRequest,
}

impl Answer {
    /// To be made where the request is answered; `streams` of a stream of events.
    pub(super) fn new(body: Body, active: ActiveRequest, streams: bool) -> Self {
        let taken = TAKEN.try_with(Arc::clone).ok();
        if let Some(taken) = &taken {
            taken.begin(streams);
        }
        Answer { body, rest: Bytes::new(), streams, taken, _active: active }
    }

    /// Notes whether the client has something to take.
    fn waits(&self, waits: bool) {
        if let Some(taken) = &self.taken {
            taken.waits(waits.then(Instant::now));
        }
    }

    /// The next piece of `rest`. The last one is a copy, as it would keep the whole in memory.
    fn piece(&mut self) -> Bytes {
        if self.rest.len() > PIECE {
            return self.rest.split_to(PIECE);
        }
        Bytes::copy_from_slice(&std::mem::take(&mut self.rest))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            self.waits(true);
            return Poll::Ready(Some(Ok(Frame::data(self.piece()))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.waits(matches!(polled, Poll::Ready(Some(_))));
        polled.map(|frame| {
            Some(frame?.map(|frame| match frame.into_data() {
                Ok(data) if data.len() > PIECE && !self.streams => {
                    self.rest = data;
                    Frame::data(self.piece())
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
