//! The paths of the endpoints.

use super::ServerBuilder;
use crate::server::application::Application;

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Serves WebSockets at `path`; `/ws` by default.
    pub fn websocket_at(mut self, path: impl Into<String>) -> Self {
        self.settings.routes.websocket = Some(path.into());
        self
    }

    /// Serves no WebSockets. [`build`](Self::build) fails if a room then has no channel.
    pub fn without_websocket(mut self) -> Self {
        self.settings.routes.websocket = None;
        self
    }

    /// Serves event streams at `path`; `/events` by default.
    pub fn sse_at(mut self, path: impl Into<String>) -> Self {
        self.settings.routes.sse = Some(path.into());
        self
    }

    /// Serves no event streams. [`build`](Self::build) fails if a room then has no channel.
    pub fn without_sse(mut self) -> Self {
        self.settings.routes.sse = None;
        self
    }

    /// Serves the health check at `path`; `/health` by default. A route of the application's own at that path takes
    /// precedence; see
    /// [`Server::health`](crate::Server::health).
    pub fn health_at(mut self, path: impl Into<String>) -> Self {
        self.settings.routes.health = Some(path.into());
        self
    }

    /// Serves no health check.
    pub fn without_health(mut self) -> Self {
        self.settings.routes.health = None;
        self
    }

    /// Serves no HTTP API: the routes below `/rooms` and `/push`. Clients of event streams then have no history.
    pub fn without_http(mut self) -> Self {
        self.settings.routes.http = None;
        self
    }

    /// Also serves a WebSocket at `path` that sends every message back, for test suites of RFC 6455. It authenticates
    /// nobody, so that it doesn't belong in production.
    pub fn echo_at(mut self, path: impl Into<String>) -> Self {
        self.settings.routes.echo = Some(path.into());
        self
    }
}
