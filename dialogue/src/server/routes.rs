//! The paths of a server's endpoints, and the router that is made of them.

use std::sync::Arc;

use axum::Router;

use super::Error;
use crate::{
    channel::{
        count_refusals, echo_route, health_route, http_routes, push_routes, sse_route, websocket_route,
        with_anonymous_token, with_cors, with_response_budget,
    },
    engine::Engine,
    observe::{MetricsEndpoint, Source},
};

/// The paths of the endpoints; `None` for one that is left out.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub(super) websocket: Option<String>,
    pub(super) sse: Option<String>,
    pub(super) health: Option<String>,
    pub(super) echo: Option<String>,
    /// Rooms and devices over HTTP.
    pub(super) http: Option<FixedRoutes>,
    pub(super) inspector: Option<FixedRoutes>,
}

/// Routes at paths that an application can't move.
#[derive(Debug, Clone, Copy)]
pub(super) struct FixedRoutes {
    /// The paths that no other endpoint can have.
    pub(super) paths: &'static [&'static str],
    /// The name of the routes in errors.
    pub(super) name: &'static str,
    pub(super) routes: fn(&Arc<Engine>) -> Router<Arc<Engine>>,
}

/// The rooms and devices over HTTP.
const HTTP: FixedRoutes = FixedRoutes {
    paths: &["/rooms", "/push", "/push/key"],
    name: "the HTTP API (`without_http`)",
    routes: |engine| {
        let devices = engine.serves_devices().then(|| push_routes(engine));
        bounded(devices.into_iter().fold(http_routes(engine), Router::merge), engine)
    },
};

impl Default for Routes {
    fn default() -> Self {
        Routes {
            websocket: Some("/ws".to_owned()),
            sse: Some("/events".to_owned()),
            health: Some("/health".to_owned()),
            echo: None,
            http: Some(HTTP),
            inspector: None,
        }
    }
}

impl Routes {
    /// Checks the paths of all endpoints, those of metrics exporters included: the router would panic on a conflict.
    pub(super) fn check(&self, others: &[MetricsEndpoint]) -> Result<(), Error> {
        let mut taken = Vec::new();
        for fixed in self.http.iter().chain(&self.inspector) {
            taken.extend(fixed.paths.iter().map(|path| (*path, fixed.name)));
        }
        let own = [
            (&self.websocket, "the WebSocket (`websocket_at`)"),
            (&self.sse, "the event stream (`sse_at`)"),
            (&self.health, "the health check (`health_at`)"),
            (&self.echo, "the echo (`echo_at`)"),
        ];
        let own = own.into_iter().filter_map(|(path, endpoint)| path.as_deref().map(|path| (path, endpoint)));
        for (path, endpoint) in
            own.chain(others.iter().map(|other| (&*other.path, "the endpoint of `metrics`")))
        {
            let error = |problem| Error::other(format!("the path `{path}` of {endpoint} {problem}"));
            if !path.starts_with('/') {
                return Err(error(format!("doesn't start with `/`: write `/{path}`")));
            }
            if path.contains(['{', '}', '*', ':']) {
                return Err(error("is a pattern: use one path, without `{`, `}`, `*` and `:`".to_owned()));
            }
            if let Some((_, other)) = taken.iter().find(|(other, _)| *other == path) {
                return Err(error(format!("is also that of {other}: move one of them, or leave one out")));
            }
            taken.push((path, endpoint));
        }
        Ok(())
    }

    pub(super) fn router(&self, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
        let merge = |routes: Router<_>, route| routes.merge(route);
        let fixed = self.http.iter().chain(&self.inspector);
        let mut routes: Vec<_> = fixed.map(|fixed| (fixed.routes)(engine)).collect();
        routes.extend(self.health.as_deref().map(|path| bounded(health_route(path, engine), engine)));
        routes.extend(self.sse.as_deref().map(|path| count_refusals(sse_route(path), engine, Source::Sse)));
        let with_cors = routes.into_iter().map(|routes| with_cors(with_anonymous_token(routes), engine));
        // CORS doesn't apply to WebSockets.
        let websocket = self
            .websocket
            .as_deref()
            .map(|path| count_refusals(websocket_route(path), engine, Source::WebSocket));
        let websockets = [websocket, self.echo.as_deref().map(echo_route)];
        with_cors.chain(websockets.into_iter().flatten()).fold(Router::new(), merge)
    }
}

/// Adds what all routes of plain HTTP have: the response budget, and the count of refusals.
fn bounded(routes: Router<Arc<Engine>>, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    count_refusals(with_response_budget(routes, engine), engine, Source::Http)
}
