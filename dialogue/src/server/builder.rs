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

use super::{Admits, Application, Declared, Error, Server, Serves, declared::schema, paths::Paths};
#[cfg(feature = "push")]
use crate::push::{Dispatch, Push};
use crate::{
    Around, Asked, Channel, Quota, Rate,
    backplane::{AnyBackplane, Backplane},
    directory::Directory,
    engine::{Bounds, Engine, Rules},
    gate::{Doors, Limiter, Rates, Shared},
    hooks::{AnyHooks, Hooks, Typed},
    hub::{Archive, NewBounds, Peers, Registry, RoomDecl},
    identity::{Authenticator, Identity, ServerKeys},
    observe::{Measures, Metrics, Readings, Timed, TimedBackplane, TraceContext, Traces},
    origins::Origins,
    session::HISTORY,
    store::{AnyStore, Store},
};

/// Builds a [`Server`]; with nothing said, everything is in memory and everybody is anonymous.
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
    paths: Paths,
    bounds: Bounds,
    rates: Rates,
    origins: Origins,
    identity: Identity,
    server_keys: Vec<String>,
    hooks: Option<Arc<dyn AnyHooks>>,
    #[cfg(feature = "push")]
    push: Option<Push>,
    store: Option<Arc<dyn AnyStore>>,
    metrics: Vec<Box<dyn Metrics>>,
    traces: Traces,
    backplane: Option<Arc<dyn AnyBackplane>>,
    most_rooms: usize,
    new_rooms: NewBounds,
    /// What middleware is made from.
    state: S,
    /// The middleware in front of all rooms.
    around: L,
    application: PhantomData<fn() -> (A, I)>,
}

/// What the longest of times is taken for: a year, which a clock can be wound on by.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl<A: Application> ServerBuilder<A> {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            paths: Paths {
                websocket: Some("/ws".to_owned()),
                sse: Some("/events".to_owned()),
                health: Some("/health".to_owned()),
                echo: None,
                http: true,
                inspector: false,
            },
            bounds: Bounds::default(),
            rates: Rates::default(),
            origins: Origins::default(),
            identity: Identity::default(),
            server_keys: Vec::new(),
            hooks: None,
            #[cfg(feature = "push")]
            push: None,
            store: None,
            metrics: Vec::new(),
            traces: Traces::default(),
            backplane: None,
            most_rooms: 100_000,
            new_rooms: NewBounds::default(),
            state: (),
            around: (),
            application: PhantomData,
        }
    }
}

impl<A: Application, I, S, L> ServerBuilder<A, I, S, L> {
    /// Tells users apart by `authenticator`; from now on, who shows no valid token is refused. Name it before the
    /// [`hooks`](Self::hooks), which get to see its identities.
    pub fn auth<T: Authenticator>(mut self, authenticator: T) -> ServerBuilder<A, T::Identity, S, L> {
        self.identity.authenticator = Some(Box::new(authenticator));
        self.hooks = None;
        self.turn(|state, around| (state, around))
    }

    /// What middleware that is [made from the state](crate::FromState) is made from; without, that is `()`.
    pub fn state<T>(self, state: T) -> ServerBuilder<A, I, T, L> {
        self.turn(|_, around| (state, around))
    }

    /// Puts `middleware` in front of every event of every room, before what the rooms declare; called again, it puts the
    /// next one behind the one before. Events of server code pass it too.
    ///
    /// [`build`](Self::build) doesn't compile if it isn't [`Middleware`](crate::Middleware) for each event.
    ///
    /// ```
    /// use dialogue::Logger;
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
    pub fn middleware<M>(self, middleware: M) -> ServerBuilder<A, I, S, Around<L, M>> {
        self.turn(|state, around| (state, Around(around, middleware)))
    }

    /// The same settings, for other types.
    fn turn<J, T, M>(self, turn: impl FnOnce(S, L) -> (T, M)) -> ServerBuilder<A, J, T, M> {
        let (state, around) = turn(self.state, self.around);
        ServerBuilder {
            paths: self.paths,
            bounds: self.bounds,
            rates: self.rates,
            origins: self.origins,
            identity: self.identity,
            server_keys: self.server_keys,
            hooks: self.hooks,
            #[cfg(feature = "push")]
            push: self.push,
            store: self.store,
            metrics: self.metrics,
            traces: self.traces,
            backplane: self.backplane,
            most_rooms: self.most_rooms,
            new_rooms: self.new_rooms,
            state,
            around,
            application: PhantomData,
        }
    }
}

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Beside an authenticator, lets in who shows no token, as an anonymous user.
    pub fn allow_anonymous(mut self) -> Self {
        self.identity.allow_anonymous = true;
        self
    }

    /// Also takes tokens from the cookie `name`. Browsers send it by themselves, so that only the allow-list of origins
    /// stands between it and a stranger's page.
    pub fn auth_cookie(mut self, name: impl Into<String>) -> Self {
        self.identity.cookie = Some(name.into());
        self
    }

    /// Has tokens expire by another clock than the system's.
    #[cfg(test)]
    pub(crate) fn wall_clock(mut self, clock: crate::identity::Clock) -> Self {
        self.identity.clock = clock;
        self
    }

    /// The application's say on who comes, joins, speaks and leaves.
    pub fn hooks(mut self, hooks: impl Hooks<I>) -> Self {
        self.hooks = Some(Arc::new(Typed::new(hooks)));
        self
    }

    /// Tells people who are away: rooms that are served over `webpush` need it.
    #[cfg(feature = "push")]
    pub fn push(mut self, push: Push) -> Self {
        self.push = Some(push);
        self
    }

    /// Keeps logs and rooms in `store`, so that they outlive the process. Without, they are in memory.
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

    /// Has what the server measures go to `metrics`: [Prometheus](crate::observe), StatsD or a sink of your own. May be
    /// called again, for several. Without, nothing is measured.
    pub fn metrics(mut self, metrics: impl Metrics) -> Self {
        self.metrics.push(Box::new(metrics));
        self
    }

    /// Serves a page at `/dialogue` that shows what the server does: its rooms and events, who is where, how busy it is, and
    /// the events of a room as they happen. It asks for a [server key](Self::server_key), without which
    /// [`build`](Self::build) fails.
    #[cfg(feature = "inspector")]
    pub fn inspector(mut self) -> Self {
        self.paths.inspector = true;
        self
    }

    /// Joins the server's spans to traces that clients, proxies and other instances have begun. Events then carry where their
    /// trace has got to in `meta`, for everybody who gets them to see.
    pub fn trace_context(mut self, context: impl TraceContext) -> Self {
        self.traces = Traces::new(context);
        self
    }

    /// Shares the rooms with the application's other instances, over what keeps their logs too: there is no other
    /// [`store`](Self::store) then. Members, events, whom [`users`](Server::users) sends to and closes, and rooms that come
    /// and go are those of all instances, and no load balancer has to be sticky. Limits count over all instances with
    /// a [`quota`](Self::quota).
    ///
    /// All instances have the same `Redis` and prefix; clocks that are seconds apart are no trouble. Each instance has a
    /// [handler](crate::server::RoomHandle::on) of its own, which hears everything.
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

    /// Connections that a user may have at once: 64 by default.
    pub fn max_connections_per_user(mut self, connections: usize) -> Self {
        self.bounds.max_connections_per_user = connections;
        self
    }

    /// Sockets and event streams that an address may have at once, of IPv6 its first 64 bits: 1,024 by default. Where
    /// [`Server::serve`] accepts them, it has at most 64 more connections, whatever they do; beyond, they are closed at
    /// once. The machine's own address has no bound. Behind a proxy, say [how many](Self::behind_proxies).
    pub fn max_connections_per_address(mut self, connections: usize) -> Self {
        self.bounds.max_connections_per_address = connections;
        self
    }

    /// How many proxies stand in front of the server, each of which adds to `X-Forwarded-For` whom it speaks for: none by
    /// default. With too few, everybody seems to have a proxy's address, and shares its bounds and limits; with too many,
    /// clients choose theirs.
    pub fn behind_proxies(mut self, proxies: usize) -> Self {
        self.bounds.proxies = proxies;
        self
    }

    /// How often a client may ask for anything, over all rooms, over sockets and HTTP together: an event, a join, a page of
    /// history, or a frame that is none of them. Without a limit by default.
    ///
    /// A client is a user, or an address while anonymous, so that a reconnect resets nothing. Beyond, it is answered
    /// `RATE_LIMITED`; a socket that is told so more than 100 times in 10 s is closed with 4429. A room's own limit stands in
    /// its declaration, one of an event in its chain: [`RateLimit`](crate::RateLimit). Server code and server keys have no
    /// limits.
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

    /// How many frames a connection may send, whatever is in them: 100 per second by default, 500 at once. Beyond, each is
    /// answered `RATE_LIMITED`.
    pub fn limit_frames(mut self, rate: Rate) -> Self {
        self.rates.frames = Some(rate);
        self
    }

    /// Lets connections send as many frames as they can.
    pub fn without_frame_limit(mut self) -> Self {
        self.rates.frames = None;
        self
    }

    /// Limits the requests of a client over plain HTTP, over all rooms: 100 times per second by default, 500 at once.
    /// Beyond, it is refused with 429.
    ///
    /// A client is a user, or an address while anonymous; see [`behind_proxies`](Self::behind_proxies). What a user's
    /// sockets send is counted with it, and is itself bounded by [`limit_frames`](Self::limit_frames). Server keys have
    /// no limit, and [`limit`](Self::limit) holds beside.
    pub fn limit_http(mut self, rate: Rate) -> Self {
        self.rates.http = Some(rate);
        self
    }

    /// Lets clients ask over plain HTTP as often as they can.
    pub fn without_http_limit(mut self) -> Self {
        self.rates.http = None;
        self
    }

    /// How often an address may open a socket or a stream: 50 times per second by default, 500 at once. Beyond, it is
    /// refused with 429. The machine's own address has no limit.
    pub fn limit_connects(mut self, rate: Rate) -> Self {
        self.rates.connects = Some(rate);
        self
    }

    /// Lets addresses open as many sockets and streams as they can.
    pub fn without_connect_limit(mut self) -> Self {
        self.rates.connects = None;
        self
    }

    /// Clients that each limit counts at once: 1,000,000 by default, which take 36 MB. Beyond, newcomers share what one of
    /// them may do, until somebody else has everything left again.
    pub fn max_tracked_clients(mut self, clients: usize) -> Self {
        self.rates.clients = clients;
        self
    }

    /// Counts the limits of clients over several instances, which by themselves count each what they see.
    pub fn quota(mut self, quota: impl Quota) -> Self {
        self.rates.shared = Shared::new(quota);
        self
    }

    /// Rooms that a user may have created: 100 by default.
    pub fn max_created_rooms_per_user(mut self, rooms: usize) -> Self {
        self.bounds.max_created_rooms_per_user = rooms;
        self
    }

    /// How long a socket may show no token where one is required: 10 s by default. Then it is closed with 4401.
    pub fn auth_timeout(mut self, time: Duration) -> Self {
        self.bounds.auth_timeout = time.min(LONGEST);
        self
    }

    /// Serves the WebSocket at `path`; `/ws` by default.
    pub fn websocket_at(mut self, path: impl Into<String>) -> Self {
        self.paths.websocket = Some(path.into());
        self
    }

    /// Serves no WebSocket: [`build`](Self::build) fails if a room has no other channel.
    pub fn without_websocket(mut self) -> Self {
        self.paths.websocket = None;
        self
    }

    /// Serves the event stream at `path`; `/events` by default.
    pub fn sse_at(mut self, path: impl Into<String>) -> Self {
        self.paths.sse = Some(path.into());
        self
    }

    /// Serves no event stream: [`build`](Self::build) fails if a room has no other channel.
    pub fn without_sse(mut self) -> Self {
        self.paths.sse = None;
        self
    }

    /// Serves the health check at `path`; `/health` by default. A route of the application's own there goes first: see
    /// [`Server::health`].
    pub fn health_at(mut self, path: impl Into<String>) -> Self {
        self.paths.health = Some(path.into());
        self
    }

    /// Serves no health check.
    pub fn without_health(mut self) -> Self {
        self.paths.health = None;
        self
    }

    /// Serves neither rooms nor devices over HTTP: the routes below `/rooms` and `/push`. Without them, the clients' pages
    /// of history fail for rooms that come over event streams.
    pub fn without_http(mut self) -> Self {
        self.paths.http = false;
        self
    }

    /// Also serves a WebSocket at `path` that sends every message back, for RFC 6455 test suites. It asks nobody who
    /// they are: not for production.
    pub fn echo_at(mut self, path: impl Into<String>) -> Self {
        self.paths.echo = Some(path.into());
        self
    }

    /// Lets pages of `origin` connect, such as `https://acme.example`, and read what is answered over HTTP; pages of the
    /// server's own always may. May be called again for more.
    ///
    /// The text is what browsers send as `Origin`: scheme, host, and the port where it isn't the scheme's own, in lower
    /// case and with no `/` at the end. [`build`](Self::build) fails over any other.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.list(origin.into());
        self
    }

    /// Lets pages of every origin connect, but none that hides it (`Origin: null`). With cookies or in a private network, that lets strangers' pages act as
    /// their visitors.
    pub fn allow_any_origin(mut self) -> Self {
        self.origins.list_all();
        self
    }

    /// Lets clients connect that hide their origin (`Origin: null` or `file://`), beside those that are allowed
    /// otherwise: pages from a file, and the native shells that load them so. A stranger's page in a sandboxed frame
    /// hides its origin too: with cookies or in a private network, it can then act as its visitor.
    pub fn allow_hidden_origin(mut self) -> Self {
        self.origins.list_hidden();
        self
    }

    /// Names a key with which the application's own backend may trigger every event over HTTP: a random string of at
    /// least 16 bytes. May be called again, to change keys without a gap.
    pub fn server_key(mut self, key: impl Into<String>) -> Self {
        self.server_keys.push(key.into());
        self
    }

    /// Bytes of a frame that a client sends, and of an HTTP body: 64 KiB by default. A longer frame closes the socket
    /// with 1009.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_frame_bytes = bytes;
        self
    }

    /// Bytes that may wait for a connection which reads too slowly: 1 MiB by default. Beyond, it is closed with 4409
    /// and resumes from the log.
    pub fn max_outbox_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_outbox_bytes = bytes;
        self
    }

    /// Rooms that one connection may be in: 256 by default.
    pub fn max_rooms_per_connection(mut self, rooms: usize) -> Self {
        self.bounds.max_rooms_per_connection = rooms;
        self
    }

    /// Event names in the `events` of a `join` or a `subscribe`, and of a stream: 128 by default, as many as a room has at
    /// most. Beyond, that is `TOO_MANY`.
    pub fn max_subscribed_events(mut self, names: usize) -> Self {
        self.bounds.max_subscribed_events = names;
        self
    }

    /// How deep the JSON of a frame or an HTTP body may be nested: 64 levels by default, 127 at most. Beyond, it is
    /// `INVALID_REQUEST`.
    pub fn max_json_depth(mut self, levels: usize) -> Self {
        self.bounds.max_json_depth = levels.min(127);
        self
    }

    /// Events on a page of history: 200 by default, which is also the most. Who asks for more gets so many.
    pub fn max_history_events(mut self, events: usize) -> Self {
        self.bounds.max_history_events = events.clamp(1, HISTORY.1);
        self
    }

    /// Bytes of the head of an HTTP request, where [`Server::serve`] serves it: 32 KiB by default, 8 KiB at least.
    /// Beyond, it is refused with 431.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_header_bytes = bytes.max(8 << 10);
        self
    }

    /// How long the head of an HTTP request may take to come, a handshake's too, where [`Server::serve`] serves it: 10
    /// s by default. Then the connection is closed.
    pub fn header_read_timeout(mut self, time: Duration) -> Self {
        self.bounds.header_read_timeout = time.min(LONGEST);
        self
    }

    /// How long a connection may wait for its next HTTP request, where [`Server::serve`] serves it: 75 s by default.
    /// Then it is closed. Longer than a proxy keeps its idle connections (60 s mostly), or it meets one that is just
    /// closing.
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.bounds.idle_timeout = time.min(LONGEST);
        self
    }

    /// How long a client may take nothing of an HTTP response, where [`Server::serve`] serves it: 30 s by default. Then
    /// the connection is closed, or the stream of HTTP/2 is reset. An event stream has as long as
    /// [`stream_stall_timeout`](Self::stream_stall_timeout) says, if that is longer.
    pub fn response_stall_timeout(mut self, time: Duration) -> Self {
        self.bounds.response_stall_timeout = time.min(LONGEST);
        self
    }

    /// Bytes of Dialogue's own HTTP responses over 16 KiB, such as pages of history, that may wait for their clients in
    /// the whole process: 64 MiB by default. Beyond, a request for one more is `UNAVAILABLE`; and where
    /// [`Server::serve`] serves, clients that take nothing for a second make room from half of that on.
    pub fn max_buffered_response_bytes(mut self, bytes: usize) -> Self {
        self.bounds.max_buffered_response_bytes = bytes;
        self
    }

    /// How long a connection may last whose other end is gone without a word, where [`Server::serve`] accepts it: 60 s
    /// by default, 6 s at least. TCP's keep-alive begins after half of that in silence; on Linux, what was sent is
    /// answered within that time, or 10 s after the longest time that a reader may take nothing if that is longer (the user
    /// timeout of RFC 5482): 70 s by default. WebSockets, event streams and all others are ended so.
    pub fn unreachable_timeout(mut self, time: Duration) -> Self {
        self.bounds.unreachable_timeout = time.clamp(Duration::from_secs(6), LONGEST);
        self
    }

    /// Streams that a connection of HTTP/2 may have at once, where [`Server::serve`] serves it: 100 by default, and 1
    /// at least. Each request, event stream and socket is one. A client opens no more, or gets `REFUSED_STREAM`.
    #[cfg(feature = "http2")]
    pub fn max_http2_streams(mut self, streams: u32) -> Self {
        self.bounds.max_http2_streams = streams.max(1);
        self
    }

    /// Instances of keyed rooms that there may be, those in the [`store`](Self::store) too: 100,000 by default.
    ///
    /// Past that, those that joins or events made and that were left longest go, and their logs with them: who comes back
    /// to one is told `lost`, and clients that watch get `roomDeleted`. A client that made more than a sixteenth of all
    /// lately makes space among its own. `TOO_MANY` is for when there are none to go: all were created on purpose, or
    /// somebody is in them. Rooms that the store has are opened all the same, and what clients hold doesn't keep server code
    /// and server keys from making others: there may be twice as many in memory then. Where none could go, all are looked at
    /// again a second later at the earliest; rooms that are left here meanwhile go at once, those left at other nodes then.
    /// With a store, rooms that nobody is in leave memory after a minute, and come back as they were.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.most_rooms = instances;
        self
    }

    /// Instances of keyed rooms that a user makes by joins, events and `createRoom`, in an hour and with those that are in
    /// use for longer: 1,000 by default; with 0, clients make none. Beyond, that is `TOO_MANY`. Those in the [`store`](Self::store) already, those that
    /// server code or a server key makes, and those that are left without an event don't count.
    pub fn max_new_rooms_per_user(mut self, rooms: usize) -> Self {
        self.new_rooms.user = rooms;
        self
    }

    /// The same of an address, of IPv6 its first 64 bits: 10,000 by default. The machine's own address has no bound. Behind a
    /// proxy, say [how many](Self::behind_proxies).
    pub fn max_new_rooms_per_address(mut self, rooms: usize) -> Self {
        self.new_rooms.address = rooms;
        self
    }

    /// After how much silence a socket is pinged, and how long it may then take: 25 s and 20 s by default. A socket
    /// that stays silent is closed with 4408.
    pub fn keep_alive(mut self, every: Duration, within: Duration) -> Self {
        (self.bounds.ping_interval, self.bounds.pong_timeout) = (every.min(LONGEST), within.min(LONGEST));
        self
    }

    /// How long a client may take nothing of what waits for it: 60 s by default, and 30 s at least. Then, at most half
    /// as long again later, an event stream's is no longer in its rooms; a socket is closed with 4409 the next time
    /// that [`keep_alive`](Self::keep_alive) looks at it.
    pub fn stream_stall_timeout(mut self, time: Duration) -> Self {
        self.bounds.set_stall_timeout(time.min(LONGEST));
        self
    }

    /// How long draining may take, whatever clients do: 15 s by default.
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.bounds.drain_timeout = time.min(LONGEST);
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    ///
    /// The configuration contradicts itself, or the declaration: the error says where. Or the store can't be read.
    ///
    /// Does not compile if a room requires an identity that the authenticator's doesn't [provide](crate::Provides), if its
    /// middleware [isn't made](crate::FromState) from the server's state, or if the server's middleware isn't
    /// [one](crate::Middleware) for each event.
    pub fn build(self) -> Building<A::Server>
    where
        A: Admits<I> + Serves<S, L>,
        S: Send + 'static,
        L: Send + Sync + 'static,
    {
        Building(Box::pin(self.finish(A::ASKED, A::ROOMS)))
    }

    async fn finish(
        self,
        asked: &'static [Asked],
        declared: &'static [&'static [Declared<S, L>]],
    ) -> Result<A::Server, Error>
    where
        L: Send + Sync + 'static,
    {
        let asked = asked.iter().copied().chain(std::iter::repeat(Asked::NOTHING));
        let rooms = declared.iter().copied().flatten().zip(asked).enumerate();
        let mut rooms: Vec<_> = rooms.map(|(index, (room, asked))| room.describe(index, asked)).collect();
        let measures = (!self.metrics.is_empty() || self.paths.inspector).then(|| measured(&mut rooms));
        rooms.iter_mut().for_each(|room| room.traces = self.traces.clone());
        let rooms: Vec<_> = rooms.into_iter().map(Arc::new).collect();
        for room in &rooms {
            let served = room.channels.iter().any(|channel| match channel {
                Channel::WebSocket => self.paths.websocket.is_some(),
                Channel::Sse => self.paths.sse.is_some(),
                #[cfg(feature = "push")]
                Channel::WebPush => self.push.is_some(),
                #[cfg(not(feature = "push"))]
                Channel::WebPush => false,
            });
            if !served {
                return Err(Error::configuration(format!(
                    "room `{}` is reachable over none of the channels that the server has; \
                     drop `without_websocket` or `without_sse`, give it a `push`, or drop the room",
                    room.name
                )));
            }
        }
        let endpoints: Vec<_> = self.metrics.iter().filter_map(|metrics| metrics.endpoint()).collect();
        self.paths.check(&endpoints)?;
        if let Some(origin) = self.origins.unheard_of() {
            return Err(Error::configuration(format!(
                "`{origin}` is no origin; one is written as in `https://acme.example` or `http://localhost:5173`"
            )));
        }
        let mut identity = self.identity;
        if self.paths.inspector && self.server_keys.is_empty() {
            return Err(Error::configuration(
                "the inspector shows everything to whoever has a server key: name one with `server_key`",
            ));
        }
        for key in &self.server_keys {
            if key.len() < ServerKeys::SHORTEST {
                return Err(Error::configuration(format!(
                    "a server key has at least {} bytes; make one with `openssl rand -base64 32`",
                    ServerKeys::SHORTEST
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
        let around = Arc::new(self.around);
        let gates = declared.iter().copied().flatten().map(|room| room.guard(&self.state, &around)).collect();
        let limiter = Limiter::new(&self.rates, rooms.iter().map(|room| (room.name, room.options.limit)));
        let runtime = Handle::current();
        let (archive, feed) = match (self.backplane, self.store) {
            (Some(_), Some(_)) => {
                return Err(Error::configuration(
                    "a backplane keeps the logs too: drop the `store`, or the `backplane` of a single instance",
                ));
            }
            (Some(backplane), None) => {
                let backplane: Arc<dyn AnyBackplane> = TimedBackplane::new(backplane, measures.clone());
                let joined = Peers::join(Arc::clone(&backplane), runtime.clone()).await;
                let (peers, feed) = joined.map_err(Error::store)?;
                let archive = Archive::shared(backplane, peers, &runtime);
                (Some(archive), Some(feed))
            }
            (None, store) => {
                let timed = |store| Timed::new(store, measures.clone()) as Arc<dyn AnyStore>;
                let archive = store.map(timed).map(|store| Archive::new(store, &runtime));
                (archive, None)
            }
        };
        match &archive {
            Some(archive) => identity.keep_anonymous(&archive.secret().await.map_err(Error::store)?),
            None => {
                if let Some(room) = rooms.iter().find(|room| room.options.retention.forever) {
                    return Err(Error::configuration(format!(
                        "room `{}` keeps its events for ever, which memory doesn't: give the server a `store`",
                        room.name
                    )));
                }
            }
        }
        let registry = Registry::new(rooms, self.most_rooms, self.new_rooms, archive, runtime);
        if let (Some(peers), Some(feed)) = (registry.peers(), feed) {
            peers.begin(feed, &registry);
        }
        registry.open().await.map_err(Error::store)?;
        let doors = Doors::new(&self.rates, self.bounds.max_connections_per_address, self.bounds.proxies > 0);
        let directory = Arc::new(Directory::new(self.bounds.max_connections_per_user));
        #[cfg(feature = "push")]
        let push = opened
            .map(|opened| Dispatch::start(opened, &registry, &directory, self.hooks.clone(), longest_after));
        #[cfg(feature = "push")]
        let push = push.transpose()?;
        #[cfg(not(feature = "push"))]
        let push = None;
        let (bounds, origins, hooks, traces) = (self.bounds, self.origins, self.hooks, self.traces);
        let rules =
            Rules { identity, bounds, limiter, doors, origins, hooks, directory, push, measures, traces };
        let engine = Engine::new(registry, gates, rules, schema);
        if let Some(measures) = &engine.measures {
            let engine = Arc::downgrade(&engine);
            measures.ask(move || engine.upgrade().map(|engine| engine.probed()));
        }
        for metrics in &self.metrics {
            let readings = engine.measures.as_ref().map(Readings::new);
            readings.into_iter().for_each(|readings| metrics.attach(readings));
        }
        let (paths, metrics) = (Arc::new(self.paths), self.metrics.into());
        Ok(Server { engine, paths, endpoints: endpoints.into(), metrics }.into())
    }
}

/// Has what happens in `rooms` measured.
fn measured(rooms: &mut [RoomDecl]) -> Arc<Measures> {
    let mut measures = Measures::default();
    for room in rooms {
        room.meter = measures.room(room.name, room.events.iter().map(|kind| kind.name));
    }
    Arc::new(measures)
}

/// A server that is being built: await it.
///
/// A type of its own, for rustc checks the bounds of an `async fn` thrice, and would tell as often what is missing.
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
        f.debug_struct("ServerBuilder").field("paths", &self.paths).finish_non_exhaustive()
    }
}
