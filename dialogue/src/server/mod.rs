//! Assembly: what an application builds, holds and serves.

mod accept;
mod builder;
mod declared;
mod error;
mod export;
mod handle;
mod history;
mod instance;
mod paths;
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
    Refusal, Visitor,
    channel::visitor,
    engine::Engine,
    hooks::{self, Actor},
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
    /// The routes of all channels, as an ordinary axum router to be merged into the application's own or nested below
    /// a path of it.
    ///
    /// Serve it with [`serve`](Server::serve), or by oneself; then call [`drain`](Server::drain) before exiting, and serve
    /// it `into_make_service_with_connect_info::<SocketAddr>()`: without, no address is known, so that none has a bound, and
    /// limits tell anonymous users apart by their ids, which a reconnect changes.
    pub fn router(&self) -> Router {
        let routes = self.paths.routes(&self.engine).with_state(Arc::clone(&self.engine));
        self.endpoints
            .iter()
            .fold(routes, |routes, endpoint| routes.route(&endpoint.path, endpoint.handler.clone()))
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
    pub async fn visitor<I: Send + Sync + 'static>(&self, request: &Parts) -> Result<Visitor<I>, Refusal> {
        let user = visitor(&self.engine, request).await?;
        Ok(hooks::visitor(&Actor { user, client_id: None }))
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
    fn the_readme_lists_the_bounds_as_the_docs_do() {
        assert!(include_str!("../../../README.md").contains(include_str!("../docs/bounds.md")));
    }

    #[tokio::test]
    async fn a_server_key_is_nobody() {
        let key = format!("Bearer {KEY}");
        assert_eq!(code(visit("POST", Some(("authorization", &key))).await), Some(Code::Unauthenticated));
    }
}
