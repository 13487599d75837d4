//! Middleware that limits the time of the middleware after it.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Sets a timeout for the middleware after it. When it elapses, the event is refused with `UNAVAILABLE`, and its sender
/// can retry with the same idempotency key.
///
/// Only the middleware is timed, not the append to the log: once the event is handed to the room, the outcome is
/// awaited, so that no sender gets a refusal of an event that others receive.
///
/// ```
/// use std::time::Duration;
///
/// use dialogue::{middleware::Timeout, prelude::*};
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// /// Calls another service, which may be slow.
/// async fn translated(cx: &Cx<Chat>, event: Message, next: impl Next<Chat, Message>) -> dialogue::Flow {
///     next.run(cx, event).await
/// }
///
/// dialogue::rooms! {
///     chat: [Message] via [websocket] with [Timeout::after(Duration::from_secs(2)), fn translated];
/// }
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Timeout(Duration);

impl Timeout {
    /// Sets the timeout.
    pub const fn after(timeout: Duration) -> Self {
        Timeout(timeout)
    }
}

impl<R: Room, E: Event> Middleware<R, E> for Timeout {
    async fn handle(&self, cx: &Cx<R>, event: E, next: impl Next<R, E>) -> Flow {
        let mut rest = pin!(next.run(cx, event));
        tokio::select! {
            biased;
            flow = &mut rest => return flow,
            () = tokio::time::sleep(self.0) => {}
        }
        match cx.event.is_submitted.load(Ordering::Relaxed) {
            true => rest.await,
            false => Err(Refusal::new(Code::Unavailable, "this takes too long at the moment; try again")),
        }
    }
}
