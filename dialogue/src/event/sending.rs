//! The future of an event that is sent.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::wire::Accepted;

/// The future of an event that is being sent. It resolves once the room's log has accepted the event.
///
/// The future is boxed so that its type doesn't name the event's: the compiler then reports a wrong event once instead
/// of three times.
#[must_use = "nothing is sent until this is awaited"]
pub struct Sending<'a, X> {
    future: Pin<Box<dyn Future<Output = Result<Accepted, X>> + Send + 'a>>,
}

impl<'a, X> Sending<'a, X> {
    pub(crate) fn new(future: impl Future<Output = Result<Accepted, X>> + Send + 'a) -> Self {
        Sending { future: Box::pin(future) }
    }
}

impl<X> Future for Sending<'_, X> {
    type Output = Result<Accepted, X>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.future.as_mut().poll(cx)
    }
}

impl<X> fmt::Debug for Sending<'_, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sending")
    }
}
