//! Middleware of the application's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use dialogue::prelude::*;

/// What the application's parts share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<AtomicUsize>);

impl Ledger {
    /// How many events were accepted.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Acts once an event was accepted. Made from the state that the server is given.
#[derive(Debug)]
pub(crate) struct Audit(Ledger);

impl FromState<Ledger> for Audit {
    fn from_state(ledger: &Ledger) -> Self {
        Audit(ledger.clone())
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Audit {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let accepted = next.run(cx, event).await?;
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Ok(accepted)
    }
}

/// Looks on: for every event of every room.
#[derive(Debug)]
pub(crate) struct Timing;

impl<R: Room, E: Event> Middleware<R, E> for Timing {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let began = Instant::now();
        let flow = next.run(cx, event).await;
        let outcome = flow.as_ref().map_or_else(ToString::to_string, |_| "accepted".to_owned());
        println!(
            "{} from {} in {}: {outcome}, after {:?}",
            E::NAME,
            cx.from(),
            cx.room_id(),
            began.elapsed()
        );
        flow
    }
}
