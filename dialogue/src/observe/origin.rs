//! Where an event came in, and when.

use std::time::Instant;

use tracing::Span;

use super::{Meter, Outcome};
use crate::{Accepted, Refusal};

/// How something reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    WebSocket,
    Sse,
    Http,
    /// Code of the application's own.
    Server,
    /// Another instance, which has counted it.
    Peer,
}

impl Source {
    pub(super) const CONNECTIONS: [Source; 2] = [Source::WebSocket, Source::Sse];
    pub(super) const TRIGGERS: [Source; 3] = [Source::WebSocket, Source::Http, Source::Server];
    pub(super) const REQUESTS: [Source; 3] = [Source::WebSocket, Source::Sse, Source::Http];

    pub(super) fn label(self) -> &'static str {
        match self {
            Source::WebSocket => "websocket",
            Source::Sse => "sse",
            Source::Http => "http",
            Source::Server => "server",
            Source::Peer => "peer",
        }
    }
}

/// Where an event came in, and when, if anybody measures that.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) source: Source,
    pub(crate) at: Option<Instant>,
    /// Until it is in the log.
    pub(crate) span: Span,
}

impl Origin {
    /// It comes in now.
    pub(crate) fn now(meter: &Meter, source: Source, span: Span) -> Self {
        Origin { source, at: meter.is_on().then(Instant::now), span }
    }

    /// It came in at another instance.
    pub(crate) fn elsewhere() -> Self {
        Origin { source: Source::Peer, at: None, span: Span::none() }
    }

    /// It is in the log, and may have been before.
    pub(crate) fn accepted(&self, accepted: &Accepted) {
        if self.span.is_disabled() {
            return;
        }
        let outcome = if accepted.duplicate { Outcome::Duplicate } else { Outcome::Accepted };
        self.span.record("outcome", outcome.label());
        if let Some(seq) = accepted.seq {
            self.span.record("seq", seq);
        }
    }
}

/// What a trigger's span is about doesn't get into the log.
pub(crate) fn refused(span: &Span, refusal: &Refusal) {
    if !span.is_disabled() {
        span.record("outcome", Outcome::of(refusal.code).label());
    }
}
