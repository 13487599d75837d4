//! The task that owns the session of an event stream.
//!
//! hyper doesn't poll a response body while the client reads nothing, so that the body can't end the session of a
//! stalled or removed client by itself.

use std::{
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    drain::DrainGuard,
    engine::Engine,
    identity::expired,
    live::{Outbox, OutboxCloseReason},
    observe::CloseReason,
    session::Session,
    wire::frame::{self, ServerFrame},
};

/// The body's handle of the task. The task ends, and the session with it, when this is dropped.
pub(super) struct SessionTask {
    /// Set by each poll of the body, and cleared by the task.
    was_polled: Arc<AtomicBool>,
    reason: Option<CloseReason>,
    end: Option<oneshot::Sender<CloseReason>>,
}

impl SessionTask {
    /// Spawns the task. It keeps `session` until the body is dropped, the outbox is cut, the user's token expires, or
    /// the client has read nothing for `stall_timeout`: the body was not polled, or its last chunk is still not written
    /// to the socket.
    pub(super) fn new(
        engine: &Engine,
        outbox: &Arc<Outbox>,
        session: Session,
        guard: DrainGuard,
        stall_timeout: Duration,
    ) -> Self {
        let was_polled = Arc::new(AtomicBool::new(true));
        let (end, ended) = oneshot::channel();
        engine.registry.spawn(run(
            session,
            guard,
            Arc::clone(outbox),
            ended,
            Arc::clone(&was_polled),
            stall_timeout,
        ));
        SessionTask { was_polled, reason: None, end: Some(end) }
    }

    /// Notes that the body is polled: the client reads.
    pub(super) fn note_poll(&self) {
        self.was_polled.store(true, Ordering::Relaxed);
    }

    /// Sets the reason for which the body is about to end.
    pub(super) fn end(&mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for SessionTask {
    fn drop(&mut self) {
        if let (Some(end), Some(reason)) = (self.end.take(), self.reason) {
            // It fails if the task has ended already, for example after a cut.
            let _ = end.send(reason);
        }
    }
}

/// The number of checks within a stall timeout.
const CHECKS_PER_TIMEOUT: u32 = 4;

async fn run(
    mut session: Session,
    guard: DrainGuard,
    outbox: Arc<Outbox>,
    ended: oneshot::Receiver<CloseReason>,
    was_polled: Arc<AtomicBool>,
    stall_timeout: Duration,
) {
    let stalled = async {
        let mut last_polled = Instant::now();
        loop {
            sleep(stall_timeout / CHECKS_PER_TIMEOUT).await;
            if was_polled.swap(false, Ordering::Relaxed) {
                last_polled = Instant::now();
            }
            // Polls alone don't count: hyper also polls to fill a buffer that is never flushed.
            if outbox.stalled_for().unwrap_or_default().max(last_polled.elapsed()) >= stall_timeout {
                return;
            }
        }
    };
    let expires = session.expires().cloned();
    let expiry = async {
        match &expires {
            Some(expires) => expires.wait().await,
            None => pending().await,
        }
    };
    let left_all = session.left_all();
    tokio::select! {
        reason = ended => if let Ok(reason) = reason {
            session.end(reason);
        },
        cut = poll_fn(|cx| outbox.poll_closed(cx)) => session.end(match cut {
            OutboxCloseReason::TooSlow => CloseReason::TooSlow,
            OutboxCloseReason::Removed(_) => CloseReason::Removed,
            OutboxCloseReason::Unresponsive => CloseReason::Silent,
            OutboxCloseReason::Disconnected => CloseReason::Lost,
        }),
        () = expiry => {
            session.end(CloseReason::Expired);
            // Replaces the queued events, which may no longer be delivered.
            outbox.close_with(&frame::Error::from(&expired()).encode(None));
        }
        // The last queued frame is the `left` of the last room.
        () = left_all => {
            session.end(CloseReason::Removed);
            outbox.close(OutboxCloseReason::Disconnected);
        }
        () = stalled => {
            session.end(CloseReason::TooSlow);
            // Discards the queued events.
            let _ = outbox.close_and_take_partial();
        }
    }
    // In this order: a drain waits until the connection has left its rooms.
    drop(session);
    drop(guard);
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{
        identity::User, live::JoinOptions, observe::Source, room::Channel, session::NewConnection,
        wire::Encoding,
    };

    #[dialogue::event]
    struct Message {
        text: String,
    }

    dialogue::rooms! {
        struct Acme;

        chat: [Message] via [sse];
    }

    const STALL_TIMEOUT: Duration = Duration::from_secs(60);

    /// Takes and writes all queued bytes, as a body with a reading client does.
    fn read_all(outbox: &Outbox) {
        let mut taken = Vec::new();
        while let Poll::Ready(Ok(())) =
            outbox.poll_take(&mut Context::from_waker(Waker::noop()), 1 << 20, &mut taken)
        {
            outbox.note_written();
        }
    }

    /// Opens a stream of the room `chat`.
    async fn stream(engine: &Arc<Engine>) -> (Arc<Outbox>, SessionTask) {
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, 1 << 20, None, Vec::new());
        let mut session = Session::new(
            Arc::clone(engine),
            Arc::clone(&outbox),
            NewConnection { source: Source::Sse, address: None, parent: None },
        );
        let user = User { id: "somebody".into(), authenticated: None, anonymous_token: None, is_new: false };
        session.identify(user).await.unwrap();
        session.join("chat", Channel::Sse, JoinOptions::default()).await.unwrap();
        let guard = engine
            .drain
            .admit_connection(engine.admission.connection_limiter.acquire(None).unwrap())
            .unwrap();
        let task = SessionTask::new(engine, &outbox, session, guard, STALL_TIMEOUT);
        (outbox, task)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_buffer_is_never_flushed_leaves_its_rooms() {
        let engine = Acme::server().build().await.unwrap().engine();
        let chat = engine.registry.find("chat").unwrap();
        let (outbox, task) = stream(&engine).await;
        read_all(&outbox);
        // A keep-alive comment that is taken from the body and not written.
        outbox.note_handed();
        // Offset from the times of the checks.
        sleep(Duration::from_secs(5)).await;
        for seconds in (5..120).step_by(15) {
            assert_eq!(chat.size(), usize::from(seconds < 60), "after {seconds} s");
            task.note_poll();
            sleep(Duration::from_secs(15)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_body_is_not_polled_leaves_its_rooms() {
        let engine = Acme::server().build().await.unwrap().engine();
        let chat = engine.registry.find("chat").unwrap();
        for cut in [false, true] {
            let (outbox, task) = stream(&engine).await;
            for _ in 0..10 {
                task.note_poll();
                read_all(&outbox);
                sleep(STALL_TIMEOUT / 2).await;
            }
            chat.barrier().await;
            outbox.send_raw(["data: x\n\n".into()]);
            assert_eq!((chat.size(), outbox.queued_bytes() > 0), (1, true));
            if cut {
                outbox.close(OutboxCloseReason::TooSlow);
                sleep(Duration::from_millis(1)).await;
            } else {
                sleep(2 * STALL_TIMEOUT).await;
                assert_eq!(outbox.queued_bytes(), 0);
            }
            assert_eq!(chat.size(), 0);
        }
    }
}
