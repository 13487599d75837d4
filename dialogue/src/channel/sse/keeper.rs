//! What holds a stream's membership.
//!
//! A body isn't polled while its client takes nothing, so that it can't end a membership by itself.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::sleep};

use crate::{
    engine::{Counted, Engine},
    hub::{Cut, Outbox},
    observe::Ended,
    session::Session,
};

/// The body's end of it: the task that holds the session ends when this is dropped.
pub(super) struct Keeper {
    polled: Arc<AtomicBool>,
    ended: Option<Ended>,
    end: Option<oneshot::Sender<Ended>>,
}

impl Keeper {
    /// Keeps `session` until the body is dropped, its outbox is cut, or nobody has looked at it for `patience`.
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

async fn keep(
    mut session: Session,
    counted: Counted,
    outbox: Arc<Outbox>,
    ended: oneshot::Receiver<Ended>,
    polled: Arc<AtomicBool>,
    patience: Duration,
) {
    let stalled = async {
        while polled.swap(false, Ordering::Relaxed) {
            sleep(patience).await;
        }
    };
    tokio::select! {
        ended = ended => if let Ok(ended) = ended {
            session.end(ended);
        },
        cut = poll_fn(|cx| outbox.poll_cut(cx)) => session.end(match cut {
            Cut::TooSlow => Ended::TooSlow,
            Cut::Removed(_) => Ended::Removed,
            Cut::Closed => Ended::Lost,
        }),
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
    use super::*;
    use crate::{
        Channel,
        identity::User,
        observe::Source,
        session::{Entrance, Entry},
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

    #[tokio::test(start_paused = true)]
    async fn whose_body_nobody_looks_at_is_in_no_room() {
        let engine = Acme::server().build().await.unwrap().engine();
        let chat = engine.registry.find("chat").unwrap();
        for cut in [false, true] {
            let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, 1 << 20, None, Vec::new());
            let mut session = Session::new(
                Arc::clone(&engine),
                Arc::clone(&outbox),
                Entrance { source: Source::Sse, address: None, parent: None },
            );
            let user = User { id: "somebody".into(), known: None, anonymous_token: None };
            session.identify(user).await.unwrap();
            session.join("chat", Channel::Sse, Entry::default()).await.unwrap();
            let counted = engine.admit(engine.doors.enter(None).unwrap()).unwrap();
            let keeper = Keeper::new(&engine, &outbox, session, counted, PATIENCE);
            for _ in 0..10 {
                keeper.is_read();
                sleep(PATIENCE / 2).await;
            }
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
