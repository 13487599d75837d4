//! What holds a stream's membership.
//!
//! A body isn't polled while its client takes nothing, so that it can't end a membership by itself.

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
    engine::{Counted, Engine},
    hub::{Cut, Outbox},
    identity::expired,
    observe::Ended,
    session::Session,
    wire::frame,
};

/// The body's end of it: the task that holds the session ends when this is dropped.
pub(super) struct Keeper {
    polled: Arc<AtomicBool>,
    ended: Option<Ended>,
    end: Option<oneshot::Sender<Ended>>,
}

impl Keeper {
    /// Keeps `session` until the body is dropped, its outbox is cut, its user's token expires, or the client has taken
    /// nothing for `patience`: the body is not polled, or the chunk that was taken of it last is still not written.
    pub(super) fn new(
        engine: &Engine,
        outbox: &Arc<Outbox>,
        session: Session,
        counted: Counted,
        patience: Duration,
    ) -> Self {
        let polled = Arc::new(AtomicBool::new(true));
        let (end, ended) = oneshot::channel();
        engine.registry.spawn(keep(
            session,
            counted,
            Arc::clone(outbox),
            ended,
            Arc::clone(&polled),
            patience,
        ));
        Keeper { polled, ended: None, end: Some(end) }
    }

    /// The client takes what it is sent.
    pub(super) fn is_read(&self) {
        self.polled.store(true, Ordering::Relaxed);
    }

    /// Why the body is about to end.
    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let (Some(end), Some(ended)) = (self.end.take(), self.ended) {
            // Who was cut is out already.
            let _ = end.send(ended);
        }
    }
}

/// Looks at a stream, in the time that it may take nothing.
const LOOKS: u32 = 4;

async fn keep(
    mut session: Session,
    counted: Counted,
    outbox: Arc<Outbox>,
    ended: oneshot::Receiver<Ended>,
    polled: Arc<AtomicBool>,
    patience: Duration,
) {
    let stalled = async {
        let mut seen = Instant::now();
        loop {
            sleep(patience / LOOKS).await;
            if polled.swap(false, Ordering::Relaxed) {
                seen = Instant::now();
            }
            // A body is also polled to fill a buffer that is never flushed.
            if outbox.stuck_for().unwrap_or_default().max(seen.elapsed()) >= patience {
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
        ended = ended => if let Ok(ended) = ended {
            session.end(ended);
        },
        cut = poll_fn(|cx| outbox.poll_cut(cx)) => session.end(match cut {
            Cut::TooSlow => Ended::TooSlow,
            Cut::Removed(_) => Ended::Removed,
            Cut::Silent => Ended::Silent,
            Cut::Closed => Ended::Lost,
        }),
        () = expiry => {
            session.end(Ended::Expired);
            // Instead of what waits, since nothing is delivered any more.
            let error = frame::Frame::new("error", None, frame::Error::from(&expired())).encode();
            outbox.end_with("error", &error);
        }
        // The last of what waits for the body is the `left`.
        () = left_all => {
            session.end(Ended::Removed);
            outbox.cut(Cut::Closed);
        }
        () = stalled => {
            session.end(Ended::TooSlow);
            // What waits for it goes, too.
            let _ = outbox.last_words();
        }
    }
    // First the rooms are left, then the connection is no longer counted.
    drop(session);
    drop(counted);
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{
        Channel,
        identity::User,
        observe::Source,
        session::{JoinRequest, NewConnection},
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

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Takes what waits, as a body does.
    fn take(outbox: &Outbox) {
        let mut taken = Vec::new();
        while let Poll::Ready(Ok(())) =
            outbox.poll_take(&mut Context::from_waker(Waker::noop()), 1 << 20, &mut taken)
        {
            outbox.written();
        }
    }

    /// A stream that is in the chat.
    async fn stream(engine: &Arc<Engine>) -> (Arc<Outbox>, Keeper) {
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, 1 << 20, None, Vec::new());
        let mut session = Session::new(
            Arc::clone(engine),
            Arc::clone(&outbox),
            NewConnection { source: Source::Sse, address: None, parent: None },
        );
        let user = User { id: "somebody".into(), authenticated: None, anonymous_token: None, is_new: false };
        session.identify(user).await.unwrap();
        session.join("chat", Channel::Sse, JoinRequest::default()).await.unwrap();
        let counted = engine.admit(engine.doors.acquire(None).unwrap()).unwrap();
        let keeper = Keeper::new(engine, &outbox, session, counted, PATIENCE);
        (outbox, keeper)
    }

    #[tokio::test(start_paused = true)]
    async fn whose_body_fills_a_buffer_that_nobody_empties_is_in_no_room() {
        let engine = Acme::server().build().await.unwrap().engine();
        let chat = engine.registry.find("chat").unwrap();
        let (outbox, keeper) = stream(&engine).await;
        take(&outbox);
        // A sign of life that is taken of the body and not written.
        outbox.hand();
        // Between two looks at it.
        sleep(Duration::from_secs(5)).await;
        for seconds in (5..120).step_by(15) {
            assert_eq!(chat.size(), usize::from(seconds < 60), "after {seconds} s");
            keeper.is_read();
            sleep(Duration::from_secs(15)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whose_body_nobody_looks_at_is_in_no_room() {
        let engine = Acme::server().build().await.unwrap().engine();
        let chat = engine.registry.find("chat").unwrap();
        for cut in [false, true] {
            let (outbox, keeper) = stream(&engine).await;
            for _ in 0..10 {
                keeper.is_read();
                take(&outbox);
                sleep(PATIENCE / 2).await;
            }
            chat.run(|_| ()).await;
            outbox.send_raw(["data: x\n\n".into()]);
            assert_eq!((chat.size(), outbox.waiting() > 0), (1, true));
            if cut {
                outbox.cut(Cut::TooSlow);
                sleep(Duration::from_millis(1)).await;
            } else {
                sleep(2 * PATIENCE).await;
                assert_eq!(outbox.waiting(), 0);
            }
            assert_eq!(chat.size(), 0);
        }
    }
}
