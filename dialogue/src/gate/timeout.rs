//! How long the rest of a chain may take.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use super::{Cx, Flow, Middleware, Next};
use crate::{Code, Event, Refusal, Room};

/// Gives the middleware behind it a time; beyond, the event is refused with `UNAVAILABLE`, and its sender may try again
/// with the same key.
///
/// What stands in front of the log is timed, and not the log: once an event is with it, nothing is broken off, so that
/// nobody is told of an event that it was lost while others see it.
///
/// ```
/// use std::time::Duration;
///
/// use dialogue::{Timeout, prelude::*};
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// /// Asks somebody else, who may take long.
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
    /// After so long.
    pub const fn after(time: Duration) -> Self {
        Timeout(time)
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
        match cx.at_log.load(Ordering::Relaxed) {
            true => rest.await,
            false => Err(Refusal::new(Code::Unavailable, "this takes too long at the moment; try again")),
        }
    }
}
