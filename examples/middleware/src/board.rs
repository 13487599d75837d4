//! The rooms, and which middleware stands where.

use std::time::Duration;

use dialogue::{
    Flow,
    middleware::{Dedup, RateLimit, RequireRole, Timeout},
    prelude::*,
};

use crate::audit::Audit;

/// Something to read for everybody.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Note {
    /// What filters read.
    #[filter]
    #[validate(length(max = 2000))]
    pub(crate) text: String,
}

/// A note that stays on top.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Its number.
    pub(crate) note: u64,
}

/// Everybody looks up.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Bell;

/// Nobody needs to be shouted at. A function, which fits any room that carries notes.
async fn quietly<R: Room>(cx: &Cx<R>, mut event: Note, next: impl Next<R, Note>) -> Flow {
    if event.text.chars().any(char::is_alphabetic) && event.text == event.text.to_uppercase() {
        event.text = event.text.to_lowercase();
    }
    next.run(cx, event).await
}

dialogue::rooms! {
    /// A board for notes.
    pub(crate) struct Board;

    /// Where they hang. What stands in front of the room: a type that is made from the server's state, and a call.
    #[room(limit = 20 per 10s burst 10, sync = 20)]
    notes: [
        // In front of one event: calls, one of them with a method; a function; a closure.
        Note with [
            Dedup::within(Duration::from_secs(60)),
            ContentFilter::words(["spam", "buy now"]).masked(),
            fn quietly,
            async |cx, event, next| match event.text.trim() {
                "" => Err(Refusal::blocked("a note says something")),
                _ => next.run(cx, event).await,
            },
        ],
        Pinned with [RequireRole::new("editor")],
        Bell with [RateLimit::new(1.per_minute())],
    ] via [websocket, sse] with [Audit, Timeout::after(Duration::from_secs(2))];
}
