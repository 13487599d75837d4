//! Where an event came in, and when.

use std::time::Instant;

use super::Meter;

/// How something reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    WebSocket,
    Sse,
    Http,
    /// Code of the application's own.
    Server,
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
        }
    }
}

/// Where an event came in, and when, if anybody measures that.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) source: Source,
    pub(crate) at: Option<Instant>,
}

impl Origin {
    /// It comes in now.
    pub(crate) fn now(meter: &Meter, source: Source) -> Self {
        Origin { source, at: meter.is_on().then(Instant::now) }
    }
}
