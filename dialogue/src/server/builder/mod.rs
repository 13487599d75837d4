//! The configuration of a server: the parts that the application brings, here, and a file for each group of numbers and
//! paths.

mod access;
mod clients;
mod connections;
mod http;
#[cfg(feature = "inspector")]
mod inspector;
mod rates;
mod routes;
mod settings;

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

pub(super) use settings::{AccessSettings, ObservationSettings, RoomSettings, Settings, StorageSettings};

use super::{
    Error,
    application::{Admits, Application, Declared, Serves},
    assembly,
};
use crate::{
    cluster::backplane::Backplane,
    hooks::{Hooks, TypedHooks},
    identity::{Authenticator, provides::IdentityRequirement},
    limits::{Quota, SharedQuota},
    middleware::Layered,
    observe::{MetricsExporter, TraceContext, Traces},
    push::Push,
    store::Store,
    wire::RoomIndex,
};

/// The configuration of a [`Server`](super::Server). With no method called, the server keeps its logs in memory and
/// every user is anonymous.
///
/// ```
/// use std::time::Duration;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket, sse]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), dialogue::Error> {
/// let server = Acme::server()
///     .allow_origin("https://acme.example")
///     .websocket_at("/realtime")
///     .max_frame_bytes(16 * 1024)
///     .drain_timeout(Duration::from_secs(10))
///     .build()
///     .await?;
/// let app = axum::Router::new().merge(server.router());
/// # let _: axum::Router = app;
/// # Ok(())
/// # }
/// ```
///
/// # Bounds
///
/// Each has a default that is safe in production: [the guide](crate::guide::limits) lists them all.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder<A: Application, I = (), S = (), L = ()> {
    settings: Settings,
    /// The application state that middleware is constructed from.
    state: S,
    /// The middleware in front of all rooms.
    server_middleware: L,
    application: PhantomData<fn() -> (A, I)>,
}

/// The maximum of every timeout: a year, since adding a longer time to an instant could overflow.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<A: Application> ServerBuilder<A> {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            settings: Settings::default(),
            state: (),
            server_middleware: (),
            application: PhantomData,
        }
    }
}

impl<A: Application, I, S, L> ServerBuilder<A, I, S, L> {
    /// Sets the authenticator, which turns credentials into users. From then on a connection without a valid token is
    /// refused, unless [`allow_anonymous`](Self::allow_anonymous) is called. Call it before [`hooks`](Self::hooks),
    /// whose type parameter is the identity that this authenticator returns.
    pub fn auth<T: Authenticator>(mut self, authenticator: T) -> ServerBuilder<A, T::Identity, S, L> {
        self.settings.access.identity.authenticator = Some(Box::new(authenticator));
        self.settings.access.hooks = None;
        self.turn(|state, server_middleware| (state, server_middleware))
    }

    /// Sets the application's state, from which middleware that implements [`FromState`](crate::middleware::FromState)
    /// is made. The default is `()`.
    pub fn state<T>(self, state: T) -> ServerBuilder<A, I, T, L> {
        self.turn(|_, server_middleware| (state, server_middleware))
    }

    /// Runs `middleware` for every event of every room, before the middleware that the room and the event declare. Each
    /// further call appends one. Events that server code triggers pass it too.
    ///
    /// [`build`](Self::build) doesn't compile unless it is [`Middleware`](crate::Middleware) for each event.
    ///
    /// ```
    /// use dialogue::middleware::Logger;
    ///
    /// #[dialogue::event]
    /// pub struct Message { pub text: String }
    ///
    /// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> dialogue::Result<()> {
    /// let server = Acme::server().middleware(Logger::default()).build().await?;
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn middleware<M>(self, middleware: M) -> ServerBuilder<A, I, S, Layered<L, M>> {
        self.turn(|state, server_middleware| (state, Layered(server_middleware, middleware)))
    }

    /// Returns the same settings under other type parameters.
    fn turn<J, T, M>(self, turn: impl FnOnce(S, L) -> (T, M)) -> ServerBuilder<A, J, T, M> {
        let (state, server_middleware) = turn(self.state, self.server_middleware);
        ServerBuilder { settings: self.settings, state, server_middleware, application: PhantomData }
    }
}

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Sets the [hooks](Hooks), by which the application decides who connects, joins, triggers and leaves.
    pub fn hooks(mut self, hooks: impl Hooks<I>) -> Self {
        self.settings.access.hooks = Some(Arc::new(TypedHooks::new(hooks)));
        self
    }

    /// Keeps logs and rooms in `store`, so that they outlive the process. Without a store they are in memory.
    ///
    /// ```
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    /// # async fn run() -> Result<(), dialogue::Error> {
    /// let server = Acme::server().store(dialogue::store::Memory::new()).build().await?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn store(mut self, store: impl Store) -> Self {
        self.settings.storage.store = Some(Arc::new(store));
        self
    }

    /// Shares the rooms with the other nodes of the application. The backplane also keeps the logs, so that there is no
    /// other [`store`](Self::store). Members, events, rooms and what [`users`](crate::Server::users) does are then
    /// those of all nodes, and the load balancer needs no sticky sessions. Rate limits count over all nodes only with a
    /// [`quota`](Self::quota).
    ///
    /// All nodes need the same `Redis` and the same prefix; their clocks may differ by seconds. A
    /// [handler](crate::server::RoomHandle::on) runs on each node, and receives all events on each.
    ///
    /// ```
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use dialogue::Redis;
    ///
    /// let server = Acme::server().backplane(Redis::connect("redis://localhost").await?).build().await?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.settings.storage.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets the push providers. Rooms that are served over `webpush` need them: their members without a connection are
    /// notified.
    pub fn push(mut self, push: Push) -> Self {
        self.settings.push = Some(push);
        self
    }

    /// Sends metrics to `exporter`: [Prometheus](crate::observe), StatsD or an exporter of the application's own.
    /// Each further call adds one. Without any, nothing is measured.
    pub fn metrics(mut self, exporter: impl MetricsExporter) -> Self {
        self.settings.observation.exporters.push(Box::new(exporter));
        self
    }

    /// Joins the server's spans to traces that clients, proxies and other nodes began. Events then carry their trace
    /// context in `meta`, where every client that receives them sees it.
    pub fn trace_context(mut self, context: impl TraceContext) -> Self {
        self.settings.observation.traces = Traces::new(context);
        self
    }

    /// Counts rate limits over all nodes by `quota`. Without it each node counts what it sees.
    pub fn quota(mut self, quota: impl Quota) -> Self {
        self.settings.rates.shared = SharedQuota::new(quota);
        self
    }

    /// Builds the server. The returned future does nothing until it is awaited.
    ///
    /// # Errors
    ///
    /// [`Error`] if the configuration contradicts itself or the declaration (its text says which setting to change), or
    /// if the store can't be read.
    ///
    /// # Compile errors
    ///
    /// It doesn't compile if a room requires an identity that the authenticator doesn't
    /// [provide](crate::identity::Provides), if middleware of a room can't be [made](crate::middleware::FromState) from
    /// the server's state, or if the server's middleware isn't [`Middleware`](crate::Middleware) for each event.
    pub fn build(self) -> Building<A::Server>
    where
        A: Admits<I> + Serves<S, L>,
        S: Send + 'static,
        L: Send + Sync + 'static,
    {
        Building(Box::pin(self.finish(A::REQUIRED_IDENTITIES, A::ROOMS)))
    }

    async fn finish(
        self,
        identities: &'static [IdentityRequirement],
        declared: &'static [&'static [Declared<S, L>]],
    ) -> Result<A::Server, Error>
    where
        L: Send + Sync + 'static,
    {
        let identities = identities.iter().copied().chain(std::iter::repeat(IdentityRequirement::NONE));
        let rows = || declared.iter().copied().flatten();
        let specs = rows().zip(identities).enumerate();
        let specs =
            specs.map(|(place, (row, identity))| row.describe(RoomIndex::at(place), identity)).collect();
        let declared_server = assembly::declare(self.settings, specs)?;
        let server_middleware = Arc::new(self.server_middleware);
        let any_rooms = rows().map(|row| row.build(&self.state, &server_middleware)).collect();
        Ok(declared_server.connect().await?.start(any_rooms).await?.into())
    }
}

/// The future of [`ServerBuilder::build`]. It is a named type since rustc checks the bounds of an `async fn` three
/// times, and would report each missing bound as often.
#[must_use = "nothing is built until it is awaited"]
pub struct Building<S>(Pin<Box<dyn Future<Output = Result<S, Error>> + Send>>);

impl<S> Future for Building<S> {
    type Output = Result<S, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.as_mut().poll(cx)
    }
}

impl<S> fmt::Debug for Building<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Building")
    }
}

impl<A: Application, I, S, L> fmt::Debug for ServerBuilder<A, I, S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("routes", &self.settings.routes).finish_non_exhaustive()
    }
}
