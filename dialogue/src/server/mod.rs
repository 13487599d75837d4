//! The server as applications see it: the builder, the running [`Server`], typed handles of rooms and users, and
//! serving and draining.

mod accept;
pub(crate) mod application;
mod assembly;
mod builder;
mod error;
pub(crate) mod expansion;
mod export;
mod handle;
mod history;
mod instance;
mod reserve;
mod response;
mod routes;
mod serve;
mod state;
mod users;

use std::{fmt, sync::Arc};

use axum::{Router, http::request::Parts};

pub use application::Application;
pub use builder::{Building, ServerBuilder};
pub use error::{Error, Result};
pub use handle::{ListenerHandle, RoomHandle};
pub use history::{History, HistoryPage};
pub use instance::{NewRoom, RoomDescription};
pub use serve::BoundServer;
pub use state::{Snapshot, Stateful};
pub use users::{ConnectionInfo, UserHandle, Users};

pub use crate::engine::Health;

use crate::{
    Caller, Refusal,
    channel::{visitor, with_response_budget},
    engine::Engine,
    hooks::{self, UntypedCaller},
    observe::{MetricsEndpoint, MetricsExporter},
};
use routes::Routes;

/// A running server with its rooms. Cheap to clone: all clones are handles of one server.
///
/// The type that `Acme::server().build()` returns dereferences to this one, and adds a method for each room.
#[derive(Clone)]
pub struct Server {
    engine: Arc<Engine>,
    routes: Arc<Routes>,
    endpoints: Arc<[MetricsEndpoint]>,
    exporters: Arc<[Box<dyn MetricsExporter>]>,
}

impl Server {
    /// Returns the routes of all channels as an ordinary axum router, to be merged into the application's own or nested
    /// below a path of it.
    ///
    /// | path | endpoint | moved by, left out by |
    /// |---|---|---|
    /// | `/ws` | the WebSocket | [`websocket_at`], [`without_websocket`] |
    /// | `/events` | event streams | [`sse_at`], [`without_sse`] |
    /// | `/health` | the health check, as [`health`](Self::health) | [`health_at`], [`without_health`] |
    /// | `/rooms`, `/rooms/{id}`, `/rooms/{id}/history`, `/rooms/{id}/events/{event}`; `/push`, `/push/key` if rooms are pushed | rooms and devices over HTTP | [`without_http`] |
    /// | `/dialogue` and below | the inspector, if the application asks for it | |
    /// | `/metrics` | metrics, if the application adds an exporter with an endpoint | |
    ///
    /// [`websocket_at`]: crate::server::ServerBuilder::websocket_at
    /// [`without_websocket`]: crate::server::ServerBuilder::without_websocket
    /// [`sse_at`]: crate::server::ServerBuilder::sse_at
    /// [`without_sse`]: crate::server::ServerBuilder::without_sse
    /// [`health_at`]: crate::server::ServerBuilder::health_at
    /// [`without_health`]: crate::server::ServerBuilder::without_health
    /// [`without_http`]: crate::server::ServerBuilder::without_http
    ///
    /// # Beside the application's own routes
    ///
    /// At `/health` and below `/rooms` and `/push`, the application's own routes take precedence, in whichever order
    /// the routers are merged: its `get("/health")` answers, and Dialogue answers the methods that it doesn't handle. A
    /// `/health` of the application's own must call [`health`](Self::health): otherwise a draining node still gets new
    /// connections.
    ///
    /// Apply a layer for all of the application's routes, such as one for CORS, to the merged router. Applied to the
    /// application's own router before the merge, it misses the methods that Dialogue answers at a path that both have.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use dialogue::prelude::*;
    ///
    /// #[dialogue::event]
    /// pub struct Message { pub text: String }
    ///
    /// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket, sse]; }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> dialogue::Result<()> {
    /// let server = Acme::server().build().await?;
    /// let health = { let server = server.clone(); move || async move { server.health() } };
    ///
    /// let app: Router = Router::new()
    ///     .route("/health", get(health))
    ///     .route("/rooms", get(|| async { "our meeting rooms" }))
    ///     .merge(server.router());
    ///
    /// // Or all of it below a path, with clients that connect to `ws://localhost:3000/realtime`.
    /// let app: Router = Router::new().nest("/realtime", server.router());
    /// # drop(app);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Other conflicts, which would silently cut clients off, make axum panic when the routers are merged:
    ///
    /// | panic | cause in the application | remedy |
    /// |---|---|---|
    /// | ``Overlapping method route. Handler for `GET /events` already exists`` | a page at the path of a channel, the inspector or the metrics | move one, with the methods above |
    /// | ``Cannot merge two `MethodRouter`s that both have a fallback`` | `any(…)` at a path of Dialogue's | use `get(…)` or `post(…)`, or nest |
    /// | `Insertion failed due to conflict with previously registered route` | a pattern such as `/rooms/{name}` or `/rooms/{name}/history`, which equals one of Dialogue's but for the parameter's name | name the first parameter `{id}`, or nest |
    ///
    /// # Serving the router
    ///
    /// Serve it with [`serve`](Server::serve), or with another server: call [`drain`](Server::drain) before exiting
    /// then, and serve `into_make_service_with_connect_info::<SocketAddr>()`. Without the connect info, client
    /// addresses are unknown: bounds per address don't apply, and rate limits count anonymous users by their ids, which
    /// change with each connection.
    pub fn router(&self) -> Router {
        let routes = self.routes.router(&self.engine).with_state(Arc::clone(&self.engine));
        self.endpoints
            .iter()
            .map(|endpoint| Router::new().route(&endpoint.path, endpoint.handler.clone()))
            .fold(routes, |routes, own| routes.merge(with_response_budget(own, &self.engine)))
    }

    /// Returns the health of this node, for a health check of the application's own. It is cheap, and doesn't wait.
    pub fn health(&self) -> Health {
        self.engine.health()
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// Returns a handle of the users of this server.
    pub fn users(&self) -> Users {
        Users::new(Arc::clone(&self.engine))
    }

    /// Authenticates a request to a route of the application's own, by a header or a cookie, as for the routes of
    /// [`router`](Server::router). `I` is the identity type of the authenticator.
    ///
    /// ```
    /// use axum::{extract::State, http::request::Parts};
    /// use dialogue::{Code, Refusal, Server};
    ///
    /// /// The identity that the authenticator returns.
    /// struct Member { name: String }
    ///
    /// async fn me(State(server): State<Server>, request: Parts) -> Result<String, Refusal> {
    ///     let me = server.visitor::<Member>(&request).await?;
    ///     let member = me.identity().ok_or_else(|| Refusal::new(Code::Unauthenticated, "sign in first"))?;
    ///     Ok(format!("{} has the user id {}", member.name, me.user_id()))
    /// }
    ///
    /// let routes: axum::Router<Server> = axum::Router::new().route("/me", axum::routing::get(me));
    /// ```
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` without a valid token where one is required, and for the server key; `PERMISSION_DENIED` for a
    /// page of a foreign origin, unless the method is safe (RFC 9110, section 9.2.1); `UNAVAILABLE` while tokens can't
    /// be checked.
    pub async fn visitor<I: Send + Sync + 'static>(&self, request: &Parts) -> Result<Caller<I>, Refusal> {
        let user = visitor(&self.engine, request).await?;
        Ok(hooks::typed_caller(&UntypedCaller { user, client_id: None }))
    }

    /// Returns the numbers of pushes of this process by outcome, for each provider.
    pub fn pushes(&self) -> Vec<(&'static str, crate::push::PushCounts)> {
        self.engine.push.as_ref().map(|push| push.counts()).unwrap_or_default()
    }

    /// Returns the hash of the declared rooms and events, which the frame `connected` sends to clients. It changes when
    /// the types of a client may no longer match.
    pub fn schema(&self) -> &str {
        &self.engine.schema
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("schema", &self.schema()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Code, Refusal};

    #[crate::event]
    struct Message {
        text: String,
    }

    crate::rooms! { struct Acme; chat: [Message] via [websocket]; }

    const KEY: &str = "a key of the application's own backend";

    async fn visit(method: &str, header: Option<(&str, &str)>) -> Result<(), Refusal> {
        let server = Acme::server().server_key(KEY).build().await.expect("a server");
        let request = http::Request::builder().method(method).header("host", "acme.example");
        let request = header.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        server.visitor::<()>(&parts).await.map(drop)
    }

    fn code(answer: Result<(), Refusal>) -> Option<Code> {
        answer.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn a_page_of_a_foreign_origin_may_only_read() {
        let foreign = Some(("origin", "https://evil.example"));
        assert_eq!(code(visit("POST", foreign).await), Some(Code::PermissionDenied));
        assert_eq!(code(visit("GET", foreign).await), None);
        assert_eq!(code(visit("POST", Some(("origin", "https://acme.example"))).await), None);
    }

    #[test]
    fn the_guide_lists_every_bound_of_the_builder() {
        let guide = include_str!("../docs/guide/limits.md");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/server/builder");
        let files: Vec<_> = std::fs::read_dir(folder)
            .expect("the builder's files")
            .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("its text"))
            .collect();
        let lines = files.iter().flat_map(|file| file.lines());
        let methods = lines.filter_map(|line| line.trim().strip_prefix("pub fn "));
        let names = methods.filter_map(|method| method.split(['(', '<']).next());
        let bounds = names.filter(|name| {
            name.starts_with("max_")
                || name.starts_with("limit")
                || name.ends_with("_timeout")
                || *name == "keep_alive"
        });
        let (listed, missing): (Vec<_>, Vec<_>) =
            bounds.partition(|name| guide.contains(&format!("`{name}`")));
        assert!(listed.len() > 15 && missing.is_empty(), "not in the guide: {missing:?}; there: {listed:?}");
    }

    #[tokio::test]
    async fn a_server_key_is_no_visitor() {
        let key = format!("Bearer {KEY}");
        assert_eq!(code(visit("POST", Some(("authorization", &key))).await), Some(Code::Unauthenticated));
    }
}
