//! Assembly: what an application builds, holds and serves.

mod accept;
mod answer;
mod builder;
mod declared;
mod error;
mod export;
mod handle;
mod history;
mod instance;
mod paths;
mod reserve;
mod serve;
mod state;
mod users;

use std::{fmt, sync::Arc};

use axum::{Router, http::request::Parts};

pub use builder::{Building, ServerBuilder};
pub use declared::{Admits, Application, Declared, Serves};
pub use error::Error;
pub use handle::{ListenerHandle, RoomHandle};
pub use history::{History, HistoryPage};
pub use instance::{NewRoom, RoomDescription};
pub use serve::Listening;
pub use state::{Snapshot, Stateful};
pub use users::{ConnectionInfo, UserHandle, Users};

use crate::{
    Caller, Refusal,
    channel::{held, visitor},
    engine::{Engine, Health},
    hooks::{self, UntypedCaller},
    observe::{Endpoint, Metrics},
};
use paths::Paths;

/// A running engine with its rooms. Cheap to clone: all clones are one server.
///
/// What `Acme::server().build()` yields has this one's methods, and one for each room.
#[derive(Clone)]
pub struct Server {
    engine: Arc<Engine>,
    paths: Arc<Paths>,
    endpoints: Arc<[Endpoint]>,
    metrics: Arc<[Box<dyn Metrics>]>,
}

impl Server {
    /// Returns the routes of all channels, as an ordinary axum router, to be merged into the application's own or nested
    /// below a path of it.
    ///
    /// | path | serves | moved by, left out by |
    /// |---|---|---|
    /// | `/ws` | the WebSocket | [`websocket_at`], [`without_websocket`] |
    /// | `/events` | event streams | [`sse_at`], [`without_sse`] |
    /// | `/health` | the health check, as [`health`](Self::health) | [`health_at`], [`without_health`] |
    /// | `/rooms`, `/rooms/{id}`, `/rooms/{id}/history`, `/rooms/{id}/events/{event}`; `/push`, `/push/key` (feature `push`) | rooms and devices over HTTP | [`without_http`] |
    /// | `/dialogue` and below | the inspector, if the application asks for it | |
    /// | `/metrics` | numbers, wherever the application asks for them | |
    ///
    /// [`websocket_at`]: crate::ServerBuilder::websocket_at
    /// [`without_websocket`]: crate::ServerBuilder::without_websocket
    /// [`sse_at`]: crate::ServerBuilder::sse_at
    /// [`without_sse`]: crate::ServerBuilder::without_sse
    /// [`health_at`]: crate::ServerBuilder::health_at
    /// [`without_health`]: crate::ServerBuilder::without_health
    /// [`without_http`]: crate::ServerBuilder::without_http
    ///
    /// # Beside the application's own routes
    ///
    /// At `/health` and below `/rooms` and `/push`, the application's own routes go first, whichever is merged into which: its
    /// `get("/health")` answers, and Dialogue answers what it leaves. An own `/health` asks [`health`](Self::health), or a
    /// node that drains still gets new connections.
    ///
    /// A layer for all of the application's routes, such as one for CORS, goes around the merged router. Put on the application's
    /// own router before the merge, it misses the methods that Dialogue answers at a path that both have.
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
    /// Where that would cut clients off in silence, axum panics when the routes are merged:
    ///
    /// | axum says | because the application has | so |
    /// |---|---|---|
    /// | ``Overlapping method route. Handler for `GET /events` already exists`` | a page where a channel, the inspector or the metrics are | move one, with the methods above |
    /// | ``Cannot merge two `MethodRouter`s that both have a fallback`` | `any(…)` at a path of Dialogue's | say `get(…)` or `post(…)`, or nest |
    /// | `Insertion failed due to conflict with previously registered route` | a pattern such as `/rooms/{name}` or `/rooms/{name}/history`, which is Dialogue's by another name | call the first `{id}`, or nest |
    ///
    /// # Serving it
    ///
    /// Serve it with [`serve`](Server::serve), or by oneself; then call [`drain`](Server::drain) before exiting, and serve
    /// it `into_make_service_with_connect_info::<SocketAddr>()`: without, no address is known, so that none has a bound, and
    /// limits tell anonymous users apart by their ids, which a reconnect changes.
    pub fn router(&self) -> Router {
        let routes = self.paths.routes(&self.engine).with_state(Arc::clone(&self.engine));
        self.endpoints
            .iter()
            .map(|endpoint| Router::new().route(&endpoint.path, endpoint.handler.clone()))
            .fold(routes, |routes, own| routes.merge(held(own, &self.engine)))
    }

    /// Returns whether this process can serve, for a health check of the application's own. It is cheap, and doesn't wait.
    pub fn health(&self) -> Health {
        self.engine.health()
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine)
    }

    /// The users that are connected to this process.
    pub fn users(&self) -> Users {
        Users::new(Arc::clone(&self.engine))
    }

    /// Who sends a request to a route of the application's own: told by the authenticator, from a header or a cookie, as for
    /// the routes of [`router`](Server::router). `I` is the authenticator's identity.
    ///
    /// ```
    /// use axum::{extract::State, http::request::Parts};
    /// use dialogue::{Code, Refusal, Server};
    ///
    /// /// What the authenticator tells of a user.
    /// struct Member { name: String }
    ///
    /// async fn me(State(server): State<Server>, request: Parts) -> Result<String, Refusal> {
    ///     let me = server.visitor::<Member>(&request).await?;
    ///     let member = me.identity().ok_or_else(|| Refusal::new(Code::Unauthenticated, "sign in first"))?;
    ///     Ok(format!("{}, whom others know as {}", member.name, me.user_id()))
    /// }
    ///
    /// let routes: axum::Router<Server> = axum::Router::new().route("/me", axum::routing::get(me));
    /// ```
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` without a valid token where one is required, `PERMISSION_DENIED` for a page of a foreign origin
    /// (unless it only reads), `UNAVAILABLE` while tokens can't be checked.
    pub async fn visitor<I: Send + Sync + 'static>(&self, request: &Parts) -> Result<Caller<I>, Refusal> {
        let user = visitor(&self.engine, request).await?;
        Ok(hooks::typed_caller(&UntypedCaller { user, client_id: None }))
    }

    /// How pushes have fared in this process, for each provider.
    #[cfg(feature = "push")]
    pub fn pushes(&self) -> Vec<(&'static str, crate::push::PushCounts)> {
        self.engine.push.as_ref().map(|push| push.counts()).unwrap_or_default()
    }

    /// The hash of the declared rooms and events that `connected` tells clients: it is another one when a client's
    /// types may no longer fit.
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
    async fn a_foreign_page_may_read_as_its_visitor_and_no_more() {
        let foreign = Some(("origin", "https://evil.example"));
        assert_eq!(code(visit("POST", foreign).await), Some(Code::PermissionDenied));
        assert_eq!(code(visit("GET", foreign).await), None);
        assert_eq!(code(visit("POST", Some(("origin", "https://acme.example"))).await), None);
    }

    #[test]
    fn the_guide_lists_every_bound_of_the_builder() {
        let guide = include_str!("../docs/guide/limits.md");
        let methods =
            include_str!("builder.rs").lines().filter_map(|line| line.trim().strip_prefix("pub fn "));
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
    async fn a_server_key_is_nobody() {
        let key = format!("Bearer {KEY}");
        assert_eq!(code(visit("POST", Some(("authorization", &key))).await), Some(Code::Unauthenticated));
    }
}
