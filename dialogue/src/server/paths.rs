//! Where a server's routes are.

use std::sync::Arc;

use axum::Router;

use super::Error;
#[cfg(feature = "push")]
use crate::channel::push_routes;
#[cfg(feature = "inspector")]
use crate::channel::{INSPECTOR_PATHS, inspector_routes};
use crate::{
    channel::{counted, echo_route, http_routes, readable, sse_route, websocket_route},
    engine::Engine,
    observe::{Endpoint, Source},
};

/// Where the channels are served.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) websocket: Option<String>,
    pub(super) sse: Option<String>,
    pub(super) echo: Option<String>,
    pub(super) inspector: bool,
}

impl Paths {
    /// What the router would panic over.
    pub(super) fn check(&self, others: &[Endpoint]) -> Result<(), Error> {
        let mut taken = vec!["/rooms", "/health", "/push", "/push/key"];
        #[cfg(feature = "inspector")]
        if self.inspector {
            taken.extend(INSPECTOR_PATHS);
        }
        let others = others.iter().map(|endpoint| &endpoint.path);
        for path in [&self.websocket, &self.sse, &self.echo].into_iter().flatten().chain(others) {
            let why = match path.as_str() {
                path if !path.starts_with('/') => "begins with no `/`",
                path if path.contains(['{', '}', '*', ':']) => {
                    "is a pattern, and what is served there has one place"
                }
                path if taken.contains(&path) => "is taken already",
                path => {
                    taken.push(path);
                    continue;
                }
            };
            return Err(Error::configuration(format!("the path `{path}` {why}")));
        }
        Ok(())
    }

    pub(super) fn routes(&self, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
        let merge = |routes: Router<_>, route| routes.merge(route);
        let routes = http_routes();
        #[cfg(feature = "push")]
        let routes = routes.merge(push_routes());
        let routes = counted(routes, engine, Source::Http);
        #[cfg(feature = "inspector")]
        let routes = if self.inspector { routes.merge(inspector_routes()) } else { routes };
        let stream = self.sse.as_deref().map(|path| counted(sse_route(path), engine, Source::Sse));
        let routes = stream.into_iter().fold(routes, merge);
        // Sockets ask for no leave to be read.
        let socket =
            self.websocket.as_deref().map(|path| counted(websocket_route(path), engine, Source::WebSocket));
        let sockets = [socket, self.echo.as_deref().map(echo_route)];
        sockets.into_iter().flatten().fold(readable(routes, engine), merge)
    }
}
