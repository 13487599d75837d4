//! The body of a stream: what its outbox holds, and a sign of life where that is nothing.

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

use super::keeper::Keeper;
use crate::{
    engine::{Counted, Engine},
    hub::Outbox,
    observe::Ended,
    session::Session,
    wire::frame,
};

/// See the [module](self). The client has left its rooms when it is dropped.
pub(super) struct Stream {
    outbox: Arc<Outbox>,
    alive: Pin<Box<Sleep>>,
    draining: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What waits is the last.
    over: bool,
    keeper: Keeper,
}

/// How often a comment says that the stream lives.
const ALIVE: Duration = Duration::from_secs(15);
/// Bytes handed over at once.
const MOST: usize = 64 << 10;
/// How long a browser waits at least before it comes back.
const RETRY: Duration = Duration::from_secs(1);
/// Over how long browsers come back that all lost their streams at one moment, of a server that crashed.
const RETRY_SPREAD: Duration = Duration::from_secs(4);

impl Stream {
    pub(super) fn new(engine: &Engine, outbox: Arc<Outbox>, session: Session, counted: Counted) -> Self {
        let (silent, caught_up) = (engine.silent(), session.caught_up());
        let heard_out = async move {
            silent.await;
            caught_up.await;
        };
        Stream {
            alive: Box::pin(sleep(ALIVE)),
            draining: Some(Box::pin(heard_out)),
            over: false,
            keeper: Keeper::new(engine, &outbox, session, counted, engine.bounds.stall_timeout()),
            outbox,
        }
    }

    /// What a stream begins with.
    pub(super) fn opening() -> Bytes {
        format!("retry: {}\n\n", retry().as_millis()).into()
    }

    /// Bytes that report when they are written: the writer of the body drops them then.
    fn handed(&self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Handed { bytes, outbox: Arc::clone(&self.outbox) })
    }

    /// Sends the client elsewhere, not all of them at once.
    fn send_away(&self) {
        let after_ms = crate::engine::spread_ms();
        let reconnect = frame::Frame::new("reconnect", None, frame::Reconnect { after_ms }).encode();
        // For a browser, which doesn't look into the event.
        self.outbox.send_raw([format!("retry: {after_ms}\n").into()]);
        self.outbox.send("reconnect", &reconnect);
    }
}

/// How long a browser is to wait before it comes back, each another time.
pub(super) fn retry() -> Duration {
    RETRY + RETRY_SPREAD.mul_f64(fastrand::f64())
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.keeper.is_read();
        let drains = self.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(cx).is_ready());
        if drains {
            self.draining = None;
            self.over = true;
            self.keeper.end(Ended::Draining);
            self.send_away();
        }
        let mut chunks = Vec::new();
        match self.outbox.poll_take(cx, MOST, &mut chunks) {
            Poll::Ready(Ok(())) => return Poll::Ready(Some(Ok(Frame::data(self.handed(join(chunks)))))),
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending if self.over => return Poll::Ready(None),
            Poll::Pending => {}
        }
        ready!(self.alive.as_mut().poll(cx));
        self.alive.as_mut().reset(Instant::now() + ALIVE);
        self.outbox.note_handed();
        Poll::Ready(Some(Ok(Frame::data(self.handed(Bytes::from_static(b": alive\n\n"))))))
    }
}

/// See [`Stream::handed`].
struct Handed {
    bytes: Bytes,
    outbox: Arc<Outbox>,
}

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Handed {
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

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("outbox", &self.outbox).finish_non_exhaustive()
    }
}
