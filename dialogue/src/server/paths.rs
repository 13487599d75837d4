//! Where a server's routes are.

use std::sync::Arc;

use axum::Router;

use super::Error;
#[cfg(feature = "push")]
use crate::channel::push_routes;
#[cfg(feature = "inspector")]
use crate::channel::{INSPECTOR_PATHS, inspector_routes};
use crate::{
    channel::{
        counted, echo_route, health_route, held, http_routes, named, readable, sse_route, websocket_route,
    },
    engine::Engine,
    observe::{Endpoint, Source},
};

/// Where what is served.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) websocket: Option<String>,
    pub(super) sse: Option<String>,
    pub(super) health: Option<String>,
    pub(super) echo: Option<String>,
    /// Serves rooms and devices over HTTP.
    pub(super) http: bool,
    pub(super) inspector: bool,
}

impl Paths {
    /// Finds what the router would panic over.
    pub(super) fn check(&self, others: &[Endpoint]) -> Result<(), Error> {
        let mut taken = Vec::new();
        if self.http {
            taken
                .extend(["/rooms", "/push", "/push/key"].map(|path| (path, "the HTTP API (`without_http`)")));
        }
        #[cfg(feature = "inspector")]
        if self.inspector {
            taken.extend(INSPECTOR_PATHS.map(|path| (path, "the `inspector`")));
        }
        let own = [
            (&self.websocket, "the WebSocket (`websocket_at`)"),
            (&self.sse, "the event stream (`sse_at`)"),
            (&self.health, "the health check (`health_at`)"),
            (&self.echo, "the echo (`echo_at`)"),
        ];
        let own = own.into_iter().filter_map(|(path, what)| path.as_deref().map(|path| (path, what)));
        for (path, what) in own.chain(others.iter().map(|other| (&*other.path, "the page of `metrics`"))) {
            let error = |mend| Error::configuration(format!("the path `{path}` of {what} {mend}"));
            if !path.starts_with('/') {
                return Err(error(format!("begins with no `/`: write `/{path}`")));
            }
            if path.contains(['{', '}', '*', ':']) {
                return Err(error("is a pattern: name one place, without `{`, `}`, `*` and `:`".to_owned()));
            }
            if let Some((_, other)) = taken.iter().find(|(other, _)| *other == path) {
                return Err(error(format!(
                    "is that of {other} too: give one of them another, or leave one out"
                )));
            }
            taken.push((path, what));
        }
        Ok(())
    }

    pub(super) fn routes(&self, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
        let merge = |routes: Router<_>, route| routes.merge(route);
        let mut api = Vec::new();
        if self.http {
            api.push(http_routes(engine));
            #[cfg(feature = "push")]
            api.push(push_routes(engine));
        }
        api.extend(self.health.as_deref().map(|path| health_route(path, engine)));
        let mut routes: Vec<_> =
            api.into_iter().map(|routes| counted(held(routes, engine), engine, Source::Http)).collect();
        #[cfg(feature = "inspector")]
        if self.inspector {
            routes.push(inspector_routes());
        }
        routes.extend(self.sse.as_deref().map(|path| counted(sse_route(path), engine, Source::Sse)));
        let readable = routes.into_iter().map(|routes| readable(named(routes), engine));
        // Sockets ask for no leave to be read.
        let socket =
            self.websocket.as_deref().map(|path| counted(websocket_route(path), engine, Source::WebSocket));
        let sockets = [socket, self.echo.as_deref().map(echo_route)];
        readable.chain(sockets.into_iter().flatten()).fold(Router::new(), merge)
    }
}
