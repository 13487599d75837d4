//! The configuration of a server.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    Error, Server,
    application::{Admits, Application, Declared, Serves, schema},
    routes::Routes,
};
#[cfg(feature = "push")]
use crate::push::{Push, PushDispatcher};
use crate::{
    Rate,
    cluster::{
        Cluster,
        backplane::{AnyBackplane, Backplane},
    },
    engine::{Engine, EngineConfig, ServerBounds},
    hooks::{AnyHooks, Hooks, TypedHooks},
    identity::{Authentication, Authenticator, ServerKeys, provides::IdentityRequirement},
    limits::{ConnectionLimiter, Limiter, Quota, RateLimits, SharedQuota},
    live::{Archive, NewRoomBounds, Registry, RoomSpec},
    middleware::Layered,
    observe::{
        InstrumentedBackplane, InstrumentedStore, MetricsExporter, MetricsReader, ServerMetrics,
        TraceContext, Traces,
    },
    origins::Origins,
    room::Channel,
    session::HISTORY_LIMITS,
    store::{AnyStore, Store},
    user_connections::UserConnections,
    wire::RoomIndex,
};

/// The configuration of a [`Server`]. With no method called, the server keeps its logs in memory and every user is
/// anonymous.
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
/// # ServerBounds
///
/// Each has a default that is safe in production: [the guide](crate::guide::limits) lists them all.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder<A: Application, I = (), S = (), L = ()> {
    routes: Routes,
    bounds: ServerBounds,
    rates: RateLimits,
    origins: Origins,
    identity: Authentication,
    server_keys: Vec<String>,
    hooks: Option<Arc<dyn AnyHooks>>,
    #[cfg(feature = "push")]
    push: Option<Push>,
    store: Option<Arc<dyn AnyStore>>,
    exporters: Vec<Box<dyn MetricsExporter>>,
    traces: Traces,
    backplane: Option<Arc<dyn AnyBackplane>>,
    max_instances: usize,
    new_rooms: NewRoomBounds,
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
            routes: Routes {
                websocket: Some("/ws".to_owned()),
                sse: Some("/events".to_owned()),
                health: Some("/health".to_owned()),
                echo: None,
                http: true,
                inspector: false,
            },
            bounds: ServerBounds::default(),
            rates: RateLimits::default(),
            origins: Origins::default(),
            identity: Authentication::default(),
            server_keys: Vec::new(),
            hooks: None,
            #[cfg(feature = "push")]
            push: None,
            store: None,
            exporters: Vec::new(),
            traces: Traces::default(),
            backplane: None,
            max_instances: 100_000,
            new_rooms: NewRoomBounds::default(),
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
        self.identity.authenticator = Some(Box::new(authenticator));
        self.hooks = None;
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
        ServerBuilder {
            routes: self.routes,
            bounds: self.bounds,
            rates: self.rates,
            origins: self.origins,
            identity: self.identity,
            server_keys: self.server_keys,
            hooks: self.hooks,
            #[cfg(feature = "push")]
            push: self.push,
            store: self.store,
            exporters: self.exporters,
            traces: self.traces,
            backplane: self.backplane,
            max_instances: self.max_instances,
            new_rooms: self.new_rooms,
            state,
            server_middleware,
            application: PhantomData,
        }
    }
}

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Accepts connections that show no token, as anonymous users, although there is an [authenticator](Self::auth). A
    /// token that is shown and not valid is still refused.
    pub fn allow_anonymous(mut self) -> Self {
        self.identity.allow_anonymous = true;
        self
    }

    /// Reads tokens from the cookie `name` too. Browsers send cookies with requests that other sites cause, so that the
    /// allow-list of origins ([`allow_origin`](Self::allow_origin)) is then the only protection from cross-site
    /// requests.
    pub fn auth_cookie(mut self, name: impl Into<String>) -> Self {
        self.identity.cookie = Some(name.into());
        self
    }

    /// Sets the clock by which tokens expire, in place of the system's.
    #[cfg(test)]
    pub(crate) fn wall_clock(mut self, clock: crate::identity::Clock) -> Self {
        self.identity.clock = clock;
        self
    }

    /// Sets the [hooks](Hooks), by which the application decides who connects, joins, triggers and leaves.
    pub fn hooks(mut self, hooks: impl Hooks<I>) -> Self {
        self.hooks = Some(Arc::new(TypedHooks::new(hooks)));
        self
    }

    /// Sets the push providers. Rooms that are served over `webpush` need them: their members without a connection are
    /// notified.
    #[cfg(feature = "push")]
    pub fn push(mut self, push: Push) -> Self {
        self.push = Some(push);
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
        self.store = Some(Arc::new(store));
        self
    }

    /// Sends metrics to `exporter`: [Prometheus](crate::observe), StatsD or an exporter of the application's own.
    /// Each further call adds one. Without any, nothing is measured.
    pub fn metrics(mut self, exporter: impl MetricsExporter) -> Self {
        self.exporters.push(Box::new(exporter));
        self
    }

    /// Serves a page at `/dialogue` that shows the node's rooms, connections, rates and queues, and the events of a
    /// room as they happen. The page asks for a [server key](Self::server_key); without one, [`build`](Self::build)
    /// fails.
    #[cfg(feature = "inspector")]
    pub fn inspector(mut self) -> Self {
        self.routes.inspector = true;
        self
    }

    /// Joins the server's spans to traces that clients, proxies and other nodes began. Events then carry their trace
    /// context in `meta`, where every client that receives them sees it.
    pub fn trace_context(mut self, context: impl TraceContext) -> Self {
        self.traces = Traces::new(context);
        self
    }

    /// Shares the rooms with the other nodes of the application. The backplane also keeps the logs, so that there is no
    /// other [`store`](Self::store). Members, events, rooms and what [`users`](Server::users) does are then those of
    /// all nodes, and the load balancer needs no sticky sessions. Rate limits count over all nodes only with a
    /// [`quota`](Self::quota).
    ///
    /// All nodes need the same `Redis` and the same prefix; their clocks may differ by seconds. A
    /// [handler](crate::server::RoomHandle::on) runs on each node, and receives all events on each.
    ///
    /// ```
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    /// # #[cfg(feature = "redis")]
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use dialogue::Redis;
    ///
    /// let server = Acme::server().backplane(Redis::connect("redis://localhost").await?).build().await?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets the maximum of a user's connections: 64 by default. A further one is refused with `TOO_MANY`.
    pub fn max_connections_per_user(mut self, connections: usize) -> Self {
        self.bounds.max_connections_per_user = connections;
        self
    }

    /// Sets the maximum of sockets and event streams of one address (of IPv6, its first 64 bits): 1,024 by default.
    /// Under [`Server::serve`] an address may hold 64 more TCP connections, for anything; a further one is closed when
    /// it is accepted. The loopback address has no bound. Behind a proxy, set [`behind_proxies`](Self::behind_proxies).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.bounds.max_connections_per_address = connections;
        self
    }

    /// Sets the number of proxies in front of the server, each of which appends the address of its client to
    /// `X-Forwarded-For`: 0 by default. With too small a number all clients share the address of a proxy, and its
    /// bounds; with too large a one, clients can forge theirs.
    pub fn behind_proxies(mut self, proxies: usize) -> Self {
        self.bounds.proxies = proxies;
        self
    }

    /// Limits the requests of a client, over all rooms, sockets and HTTP together: events, joins, pages of history and
    /// every other frame. There is no limit by default.
    ///
    /// A client is a user, or an address while it is anonymous, so that reconnecting resets nothing. Requests beyond
    /// the limit are refused with `RATE_LIMITED`; a socket with more than 100 such refusals in 10 s is closed with
    /// 4429. The limit of a room is part of its declaration, that of an event part of its middleware:
    /// [`RateLimit`](crate::middleware::RateLimit). Server code and server keys have no limit.
    ///
    /// ```
    /// use dialogue::prelude::*;
    ///
    /// #[dialogue::event]
    /// pub struct Message { pub text: String }
    ///
    /// dialogue::rooms! {
    ///     pub struct Acme;
    ///     #[room(limit = 10 per 1s burst 20)]
    ///     chat: [Message] via [websocket];
    /// }
    ///
    /// let server = Acme::server().limit(100.per_minute());
    /// # drop(server);
    /// ```
    pub fn limit(mut self, rate: Rate) -> Self {
        self.rates.requests = Some(rate);
        self
    }

    /// Limits the frames of a connection, whatever they hold: 100 per second by default, with a burst of 500. Frames
    /// beyond the limit are refused with `RATE_LIMITED`.
    pub fn limit_frames(mut self, rate: Rate) -> Self {
        self.rates.frames = Some(rate);
        self
    }

    /// Removes the limit of [`limit_frames`](Self::limit_frames).
    pub fn without_frame_limit(mut self) -> Self {
        self.rates.frames = None;
        self
    }

    /// Limits the requests of a client over plain HTTP, over all rooms: 100 per second by default, with a burst of 500.
    /// Requests beyond the limit are refused with status 429.
    ///
    /// A client is a user, or an address while it is anonymous; see [`behind_proxies`](Self::behind_proxies). The
    /// frames of a user's sockets count too, though only [`limit_frames`](Self::limit_frames) limits those. Server keys
    /// have no limit, and [`limit`](Self::limit) applies as well.
    pub fn limit_http(mut self, rate: Rate) -> Self {
        self.rates.http = Some(rate);
        self
    }

    /// Removes the limit of [`limit_http`](Self::limit_http).
    pub fn without_http_limit(mut self) -> Self {
        self.rates.http = None;
        self
    }

    /// Limits the sockets and streams that an address opens: 50 per second by default, with a burst of 500. Further
    /// ones are refused with status 429. The loopback address has no limit.
    pub fn limit_connects(mut self, rate: Rate) -> Self {
        self.rates.connects = Some(rate);
        self
    }

    /// Removes the limit of [`limit_connects`](Self::limit_connects).
    pub fn without_connect_limit(mut self) -> Self {
        self.rates.connects = None;
        self
    }

    /// Sets the maximum of clients that each rate limit tracks at once: 1,000,000 by default, which take 36 MB. Clients
    /// beyond it share one allowance until a tracked client has its full allowance again and is dropped.
    pub fn max_tracked_clients(mut self, clients: usize) -> Self {
        self.rates.clients = clients;
        self
    }

    /// Counts rate limits over all nodes by `quota`. Without it each node counts what it sees.
    pub fn quota(mut self, quota: impl Quota) -> Self {
        self.rates.shared = SharedQuota::new(quota);
        self
    }

    /// Sets the maximum of rooms that exist because one user created them: 100 by default. Beyond it, `createRoom` is
    /// refused with `TOO_MANY`.
    pub fn max_created_rooms_per_user(mut self, rooms: usize) -> Self {
        self.bounds.max_created_rooms_per_user = rooms;
        self
    }

    /// Sets the time in which a socket must show a token where one is required: 10 s by default. Then it is closed with
    /// 4401.
    pub fn auth_timeout(mut self, time: Duration) -> Self {
        self.bounds.auth_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Serves WebSockets at `path`; `/ws` by default.
    pub fn websocket_at(mut self, path: impl Into<String>) -> Self {
        self.routes.websocket = Some(path.into());
        self
    }

    /// Serves no WebSockets. [`build`](Self::build) fails if a room then has no channel.
    pub fn without_websocket(mut self) -> Self {
        self.routes.websocket = None;
        self
    }

    /// Serves event streams at `path`; `/events` by default.
    pub fn sse_at(mut self, path: impl Into<String>) -> Self {
        self.routes.sse = Some(path.into());
        self
    }

    /// Serves no event streams. [`build`](Self::build) fails if a room then has no channel.
    pub fn without_sse(mut self) -> Self {
        self.routes.sse = None;
        self
    }

    /// Serves the health check at `path`; `/health` by default. A route of the application's own at that path takes
    /// precedence; see
    /// [`Server::health`].
    pub fn health_at(mut self, path: impl Into<String>) -> Self {
        self.routes.health = Some(path.into());
        self
    }

    /// Serves no health check.
    pub fn without_health(mut self) -> Self {
        self.routes.health = None;
        self
    }

    /// Serves no HTTP API: the routes below `/rooms` and `/push`. Clients of event streams then have no history.
    pub fn without_http(mut self) -> Self {
        self.routes.http = false;
        self
    }

    /// Also serves a WebSocket at `path` that sends every message back, for test suites of RFC 6455. It authenticates
    /// nobody, so that it doesn't belong in production.
    pub fn echo_at(mut self, path: impl Into<String>) -> Self {
        self.routes.echo = Some(path.into());
        self
    }

    /// Lets pages of `origin`, such as `https://acme.example`, connect and read responses over HTTP. Pages of the
    /// server's own origin always may. Each further call adds one.
    ///
    /// The text is an origin as browsers send it (RFC 6454, section 6.2): scheme, host, and the port unless it is the
    /// scheme's default, in lower case and without a trailing `/`. [`build`](Self::build) fails for any other text.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.allow_origin(origin.into());
        self
    }

    /// Lets pages of every origin connect, except of a hidden one (`Origin: null`). With cookies or in a private
    /// network, any page can then act as its visitor.
    pub fn allow_any_origin(mut self) -> Self {
        self.origins.allow_any();
        self
    }

    /// Lets clients connect that hide their origin (`Origin: null` or `file://`): pages that were opened from a file,
    /// and native shells that load them so. A page in a sandboxed frame hides its origin too; with cookies or in a
    /// private network, it can then act as its visitor.
    pub fn allow_hidden_origin(mut self) -> Self {
        self.origins.allow_hidden();
        self
    }

    /// Adds a key with which the application's backend may trigger every event over HTTP: a random text of at least 16
    /// bytes. Each further call adds one, so that keys can be rotated without a gap.
    pub fn server_key(mut self, key: impl Into<String>) -> Self {
        self.server_keys.push(key.into());
        self
    }

    /// Sets the maximum size of a client's frame and of an HTTP body, in bytes: 64 KiB by default. A larger frame
    /// closes the socket with 1009.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_frame_bytes = bytes;
        self
    }

    /// Sets the maximum of bytes in the outbox of a connection that reads too slowly: 1 MiB by default. Beyond it, the
    /// connection is closed with 4409, and its client resumes from the log.
    pub fn max_outbox_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_outbox_bytes = bytes;
        self
    }

    /// Sets the maximum of rooms that one connection may be in: 256 by default. A further join is refused with
    /// `TOO_MANY`.
    pub fn max_rooms_per_connection(mut self, rooms: usize) -> Self {
        self.bounds.max_rooms_per_connection = rooms;
        self
    }

    /// Sets the maximum of event names in a `join`, a `subscribe` and the query of a stream: 128 by default, as many as
    /// a room may declare. Beyond it, the request is refused with `TOO_MANY`.
    pub fn max_subscribed_events(mut self, names: usize) -> Self {
        self.bounds.max_subscribed_events = names;
        self
    }

    /// Sets the maximum depth of nested JSON in a frame or an HTTP body: 64 levels by default, at most 127. Deeper ones
    /// are refused with `INVALID_REQUEST`.
    pub fn max_json_depth(mut self, levels: usize) -> Self {
        self.bounds.max_json_depth = levels.min(127);
        self
    }

    /// Sets the maximum of events on a page of history: 200 by default, which is also the most. A client that asks for
    /// more gets this number.
    pub fn max_history_events(mut self, events: usize) -> Self {
        self.bounds.max_history_events = events.clamp(1, HISTORY_LIMITS.max);
        self
    }

    /// Sets the maximum size of the head of an HTTP request, in bytes, under [`Server::serve`]: 32 KiB by default, at
    /// least 8 KiB. A larger one is refused with status 431.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_header_bytes = bytes.max(8 << 10);
        self
    }

    /// Sets the time in which the head of an HTTP request (a handshake included) must arrive, under [`Server::serve`]:
    /// 10 s by default. Then the connection is closed.
    pub fn header_read_timeout(mut self, time: Duration) -> Self {
        self.bounds.header_read_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the time that an HTTP connection may be idle between two requests, under [`Server::serve`]: 75 s by
    /// default. Then it is closed. It should be longer than the time for which a proxy keeps idle connections (mostly
    /// 60 s): otherwise the proxy may send a request into a connection that is being closed.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.bounds.idle_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the time in which a client may take nothing of an HTTP response, under [`Server::serve`]: 30 s by default.
    /// Then the connection is closed, or the HTTP/2 stream is reset. For an event stream,
    /// [`stream_stall_timeout`](Self::stream_stall_timeout) applies if it is longer.
    pub fn response_stall_timeout(mut self, time: Duration) -> Self {
        self.bounds.response_stall_timeout = time.min(MAX_TIMEOUT);
        self
    }

    /// Sets the maximum of bytes in the process that Dialogue's own HTTP responses of over 16 KiB, such as pages of
    /// history, hold for clients that haven't taken them: 64 MiB by default. Beyond it, a request for one more is
    /// refused with `UNAVAILABLE`. From half of it on, under
    /// [`Server::serve`], clients that take nothing for a second are disconnected.
    pub fn max_buffered_response_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_buffered_response_bytes = bytes;
        self
    }

    /// Sets the time after which a connection whose peer vanished is ended, under [`Server::serve`]: 60 s by default,
    /// at least 6 s. TCP keep-alive probes begin after half of that in silence. On Linux, bytes that were sent must be
    /// acknowledged within that time, or within 10 s more than the longest stall timeout if that is longer (TCP user
    /// timeout, RFC 5482): 70 s by default. It applies to all connections.
    pub fn unreachable_timeout(mut self, time: Duration) -> Self {
        self.bounds.unreachable_timeout = time.clamp(Duration::from_secs(6), MAX_TIMEOUT);
        self
    }

    /// Sets the maximum of concurrent streams of an HTTP/2 connection, under [`Server::serve`]: 100 by default, at
    /// least 1. Each request, event stream and socket is one. A client opens no more, or gets `REFUSED_STREAM`.
    #[cfg(feature = "http2")]
    pub fn max_http2_streams(mut self, streams: u32) -> Self {
        self.bounds.max_http2_streams = streams.max(1);
        self
    }

    /// Sets the maximum of instances of keyed rooms, those in the [`store`](Self::store) included: 100,000 by default.
    ///
    /// Beyond it, instances without members that nobody created on purpose are deleted with their logs, the one that
    /// has been empty longest first. A client that returns to one gets `lost`; clients that watch the list get
    /// `roomDeleted`. A client that made more than a sixteenth of all instances lately displaces only its own. If there
    /// is none to delete, the request is refused with `TOO_MANY`.
    ///
    /// Rooms in the store can always be opened, and server code and server keys can always make rooms, so that up to
    /// twice this number may be in memory. After a fruitless search the node searches again after a second at the
    /// earliest; an instance that is emptied at this node in the meantime is found at once. With a store, an instance
    /// without members leaves memory after a minute, and is loaded again when it is needed.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.max_instances = instances;
        self
    }

    /// Sets the maximum of instances of keyed rooms that a user makes within an hour by joins, events and `createRoom`,
    /// including older ones that are still in use: 1,000 by default; with 0, clients make none. Beyond it, the request
    /// is refused with `TOO_MANY`. Not counted are instances that the [`store`](Self::store) has, that server code or a
    /// server key makes, or that are left without an event.
    pub fn max_new_rooms_per_user(mut self, rooms: usize) -> Self {
        self.new_rooms.user = rooms;
        self
    }

    /// Sets the same maximum for an address (of IPv6, its first 64 bits): 10,000 by default. The loopback address has
    /// no bound. Behind a proxy, set [`behind_proxies`](Self::behind_proxies).
    pub fn max_new_rooms_per_address(mut self, rooms: usize) -> Self {
        self.new_rooms.address = rooms;
        self
    }

    /// Sets the silence after which a socket is sent a ping, and the time in which it must then send anything: 25 s and
    /// 20 s by default. A socket that stays silent is closed with 4408.
    pub fn keep_alive(mut self, every: Duration, within: Duration) -> Self {
        (self.bounds.ping_interval, self.bounds.pong_timeout) =
            (every.min(MAX_TIMEOUT), within.min(MAX_TIMEOUT));
        self
    }

    /// Sets the time in which a client may take nothing of its outbox: 60 s by default, at least 30 s. Then, after at
    /// most half as long again, the connection of an event stream leaves its rooms; a socket is closed with 4409 when
    /// [`keep_alive`](Self::keep_alive) next checks it.
    pub fn stream_stall_timeout(mut self, time: Duration) -> Self {
        self.bounds.set_stall_timeout(time.min(MAX_TIMEOUT));
        self
    }

    /// Sets the maximum duration of a drain, whatever clients do: 15 s by default.
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.bounds.drain_timeout = time.min(MAX_TIMEOUT);
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
        let rooms = declared.iter().copied().flatten().zip(identities).enumerate();
        let mut rooms: Vec<_> =
            rooms.map(|(place, (room, identity))| room.describe(RoomIndex::at(place), identity)).collect();
        let metrics = (!self.exporters.is_empty() || self.routes.inspector).then(|| add_meters(&mut rooms));
        rooms.iter_mut().for_each(|room| room.traces = self.traces.clone());
        let rooms: Vec<_> = rooms.into_iter().map(Arc::new).collect();
        for room in &rooms {
            let is_reachable = room.channels.iter().any(|channel| match channel {
                Channel::WebSocket => self.routes.websocket.is_some(),
                Channel::Sse => self.routes.sse.is_some(),
                #[cfg(feature = "push")]
                Channel::WebPush => self.push.is_some(),
                #[cfg(not(feature = "push"))]
                Channel::WebPush => false,
            });
            if !is_reachable {
                return Err(Error::configuration(format!(
                    "room `{}` is reachable over none of the channels that the server has; \
                     remove `without_websocket` or `without_sse`, add `push`, or remove the room",
                    room.name
                )));
            }
        }
        let endpoints: Vec<_> = self.exporters.iter().filter_map(|exporter| exporter.endpoint()).collect();
        self.routes.check(&endpoints)?;
        if let Some(origin) = self.origins.invalid_entry() {
            return Err(Error::configuration(format!(
                "`{origin}` is not an origin; write one as in `https://acme.example` or `http://localhost:5173`"
            )));
        }
        let mut identity = self.identity;
        if self.routes.inspector && self.server_keys.is_empty() {
            return Err(Error::configuration(
                "the inspector authenticates operators by a server key: set one with `server_key`",
            ));
        }
        for key in &self.server_keys {
            if key.len() < ServerKeys::MIN_BYTES {
                return Err(Error::configuration(format!(
                    "a server key must have at least {} bytes; generate one with `openssl rand -base64 32`",
                    ServerKeys::MIN_BYTES
                )));
            }
            identity.server_keys.add(key);
        }
        #[cfg(feature = "push")]
        let (opened, longest_after) = {
            let pushed = rooms.iter().flat_map(|room| &room.events).filter_map(|kind| kind.push);
            let longest_after = pushed.map(|pushed| pushed.after).max().unwrap_or_default();
            (self.push.map(Push::open).transpose()?, longest_after)
        };
        let schema = schema(&rooms);
        let server_middleware = Arc::new(self.server_middleware);
        let any_rooms = declared
            .iter()
            .copied()
            .flatten()
            .map(|room| room.build(&self.state, &server_middleware))
            .collect();
        let limiter = Limiter::new(&self.rates, rooms.iter().map(|room| (room.name, room.options.limit)));
        let runtime = Handle::current();
        let (archive, feed) = match (self.backplane, self.store) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "a backplane is also the store: remove the `store`, or the `backplane` of a single node",
                ));
            }
            (Some(backplane), None) => {
                let backplane: Arc<dyn AnyBackplane> = InstrumentedBackplane::new(backplane, metrics.clone());
                let joined = Cluster::join(Arc::clone(&backplane), runtime.clone()).await;
                let (peers, feed) = joined.map_err(Error::store)?;
                let archive = Archive::shared(backplane, peers, &runtime);
                (Some(archive), Some(feed))
            }
            (None, store) => {
                let instrumented =
                    |store| InstrumentedStore::new(store, metrics.clone()) as Arc<dyn AnyStore>;
                let archive = store.map(instrumented).map(|store| Archive::new(store, &runtime));
                (archive, None)
            }
        };
        match &archive {
            Some(archive) => identity.set_anonymous_key(&archive.secret().await.map_err(Error::store)?),
            None => {
                if let Some(room) = rooms.iter().find(|room| room.options.retention.forever) {
                    return Err(Error::configuration(format!(
                        "room `{}` retains its events for ever, which needs a store: set one with `store`",
                        room.name
                    )));
                }
            }
        }
        let registry = Registry::new(rooms, self.max_instances, self.new_rooms, archive, runtime);
        if let Some(feed) = feed {
            registry.follow_other_nodes(feed);
        }
        registry.open().await.map_err(Error::store)?;
        let connection_limiter = ConnectionLimiter::new(
            &self.rates,
            self.bounds.max_connections_per_address,
            self.bounds.proxies > 0,
        );
        let directory = Arc::new(UserConnections::new(self.bounds.max_connections_per_user));
        #[cfg(feature = "push")]
        let push = opened.map(|opened| {
            PushDispatcher::start(opened, &registry, &directory, self.hooks.clone(), longest_after)
        });
        #[cfg(feature = "push")]
        let push = push.transpose()?;
        #[cfg(not(feature = "push"))]
        let push = None;
        let (bounds, origins, hooks, traces) = (self.bounds, self.origins, self.hooks, self.traces);
        let config = EngineConfig {
            identity,
            bounds,
            limiter,
            connection_limiter,
            origins,
            hooks,
            directory,
            push,
            metrics,
            traces,
        };
        let engine = Engine::new(registry, any_rooms, config, schema);
        if let Some(metrics) = &engine.metrics {
            let engine = Arc::downgrade(&engine);
            metrics.set_sampler(move || engine.upgrade().map(|engine| engine.sample()));
        }
        for exporter in &self.exporters {
            let reader = engine.metrics.as_ref().map(MetricsReader::new);
            reader.into_iter().for_each(|reader| exporter.attach(reader));
        }
        let (routes, exporters) = (Arc::new(self.routes), self.exporters.into());
        Ok(Server { engine, routes, endpoints: endpoints.into(), exporters }.into())
    }
}

/// Gives each room a meter, and returns the metrics to which they report.
fn add_meters(rooms: &mut [RoomSpec]) -> Arc<ServerMetrics> {
    let mut metrics = ServerMetrics::default();
    for room in rooms {
        room.meter = metrics.room(room.name, room.events.iter().map(|kind| kind.name));
    }
    Arc::new(metrics)
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
        f.debug_struct("ServerBuilder").field("routes", &self.routes).finish_non_exhaustive()
    }
}
