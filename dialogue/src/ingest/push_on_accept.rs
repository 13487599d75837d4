//! The push of an event once its room has accepted it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use crate::{
    Code, Refusal,
    live::{PublishOutcome, Registry},
    push::PushOffer,
};

/// Waits for the room's outcome of an event, and pushes the event once it is accepted.
///
/// # Cancel safety
///
/// If this is dropped before (middleware with a timeout of its own does that), the event is pushed all the same: a
/// spawned task waits for the outcome and ends with it. There are at most as many of these tasks as events that may
/// wait to be pushed.
pub(super) struct PushOnAccept<'a> {
    /// `None` once the outcome is known.
    outcome: Option<oneshot::Receiver<PublishOutcome>>,
    offer: Option<PushOffer>,
    registry: &'a Arc<Registry>,
}

impl<'a> PushOnAccept<'a> {
    pub(super) fn new(
        outcome: oneshot::Receiver<PublishOutcome>,
        offer: Option<PushOffer>,
        registry: &'a Arc<Registry>,
    ) -> Self {
        PushOnAccept { outcome: Some(outcome), offer, registry }
    }
}

impl Future for PushOnAccept<'_> {
    type Output = PublishOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(outcome) = &mut this.outcome else { return Poll::Pending };
        let received = ready!(Pin::new(outcome).poll(cx));
        this.outcome = None;
        let outcome = received.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error")));
        if let (Ok((accepted, _)), Some(offer)) = (&outcome, this.offer.take()) {
            offer.accepted(accepted);
        }
        Poll::Ready(outcome)
    }
}

impl Drop for PushOnAccept<'_> {
    fn drop(&mut self) {
        if let (Some(outcome), Some(offer)) = (self.outcome.take(), self.offer.take()) {
            self.registry.spawn(async move {
                if let Ok(Ok((accepted, _))) = outcome.await {
                    offer.accepted(&accepted);
                }
            });
        }
    }
}
