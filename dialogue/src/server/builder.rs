//! The configuration of a server.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use tokio::runtime::Handle;

use super::{Admits, Application, Error, Server, declared::schema};
use crate::{
    Asked, Channel,
    channel::{echo_route, http_routes, readable, sse_route, websocket_route},
    directory::Directory,
    engine::{Engine, Limits, Rules},
    hooks::{AnyHooks, Hooks, Typed},
    hub::{Archive, Registry},
    identity::{Authenticator, Identity, ServerKeys},
    origins::Origins,
    store::{AnyStore, Store},
};
#[cfg(feature = "push")]
use crate::{
    channel::push_routes,
    push::{Dispatch, Push},
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
///     .max_frame(16 * 1024)
///     .drain_within(Duration::from_secs(10))
///     .build()
///     .await?;
/// let app = axum::Router::new().merge(server.router());
/// # let _: axum::Router = app;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct ServerBuilder<A: Application, I = ()> {
    paths: Paths,
    limits: Limits,
    origins: Origins,
    identity: Identity,
    server_keys: Vec<String>,
    hooks: Option<Arc<dyn AnyHooks>>,
    #[cfg(feature = "push")]
    push: Option<Push>,
    store: Option<Arc<dyn AnyStore>>,
    most_rooms: usize,
    application: PhantomData<fn() -> (A, I)>,
}

/// What the longest of times is taken for: a year, which a clock can be wound on by.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where the channels are served.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    websocket: Option<String>,
    sse: Option<String>,
    echo: Option<String>,
}

impl Paths {
    /// What the router would panic over.
    fn check(&self) -> Result<(), Error> {
        let mut taken = vec!["/rooms", "/health", "/push", "/push/key"];
        for path in [&self.websocket, &self.sse, &self.echo].into_iter().flatten() {
            let why = match path.as_str() {
                path if !path.starts_with('/') => "begins with no `/`",
                path if path.contains(['{', '}', '*', ':']) => "is a pattern, and a channel has one place",
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
        let routes = self.sse.as_deref().map(sse_route).into_iter().fold(routes, merge);
        // Sockets ask for no leave to be read.
        let sockets = [self.websocket.as_deref().map(websocket_route), self.echo.as_deref().map(echo_route)];
        sockets.into_iter().flatten().fold(readable(routes, engine), merge)
    }
}

impl<A: Application> ServerBuilder<A> {
    pub(crate) fn new() -> Self {
        ServerBuilder {
            paths: Paths { websocket: Some("/ws".to_owned()), sse: Some("/events".to_owned()), echo: None },
            limits: Limits::default(),
            origins: Origins::default(),
            identity: Identity::default(),
            server_keys: Vec::new(),
            hooks: None,
            #[cfg(feature = "push")]
            push: None,
            store: None,
            most_rooms: 100_000,
            application: PhantomData,
        }
    }

    /// Tells users apart by `authenticator`; from now on, who shows no valid token is refused. Name it before the
    /// [`hooks`](Self::hooks), which get to see its identities.
    pub fn auth<T: Authenticator>(mut self, authenticator: T) -> ServerBuilder<A, T::Identity> {
        self.identity.authenticator = Some(Box::new(authenticator));
        ServerBuilder {
            paths: self.paths,
            limits: self.limits,
            origins: self.origins,
            identity: self.identity,
            server_keys: self.server_keys,
            hooks: None,
            #[cfg(feature = "push")]
            push: self.push,
            store: self.store,
            most_rooms: self.most_rooms,
            application: PhantomData,
        }
    }
}

impl<A: Application, I: Send + Sync + 'static> ServerBuilder<A, I> {
    /// Beside an authenticator, lets in who shows no token, as an anonymous user.
    pub fn anonymous_too(mut self) -> Self {
        self.identity.anonymous_too = true;
        self
    }

    /// Also takes tokens from the cookie `name`. Browsers send it by themselves, so that only the allow-list of origins
    /// stands between it and a stranger's page.
    pub fn auth_cookie(mut self, name: impl Into<String>) -> Self {
        self.identity.cookie = Some(name.into());
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

    /// Connections that a user may have at once: 64 by default.
    pub fn max_connections_per_user(mut self, connections: usize) -> Self {
        self.limits.connections = connections;
        self
    }

    /// Rooms that a user may have created: 100 by default.
    pub fn max_created_per_user(mut self, rooms: usize) -> Self {
        self.limits.created = rooms;
        self
    }

    /// How long a socket may show no token where one is required: 10 s by default. Then it is closed with 4401.
    pub fn token_within(mut self, time: Duration) -> Self {
        self.limits.token_within = time.min(LONGEST);
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
        match &mut self.origins {
            Origins::These(listed) => listed.push(origin.into()),
            origins => *origins = Origins::These(vec![origin.into()]),
        }
        self
    }

    /// Lets pages of every origin connect, but none that hides it (`Origin: null`). With cookies or in a private network, that lets strangers' pages act as
    /// their visitors.
    pub fn allow_any_origin(mut self) -> Self {
        self.origins = Origins::Any;
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
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.limits.frame = bytes;
        self
    }

    /// Bytes that may wait for a connection which reads too slowly: 1 MiB by default. Beyond, it is closed with 4409
    /// and resumes from the log.
    pub fn max_waiting(mut self, bytes: usize) -> Self {
        self.limits.outbox = bytes;
        self
    }

    /// Rooms that one connection may be in: 256 by default.
    pub fn max_rooms_per_connection(mut self, rooms: usize) -> Self {
        self.limits.rooms = rooms;
        self
    }

    /// Instances of keyed rooms that there may be: 100,000 by default.
    ///
    /// Past that, where there is no store, those that joins or events made and that were left empty longest go, and their
    /// logs with them: who comes back to one is told `lost`. `TOO_MANY` is for when there are none to go: all were created
    /// on purpose, or somebody is in them. With a [`store`](Self::store), rooms that nobody is in leave memory after a
    /// minute and come back as they were; the bound is on all that the store has.
    pub fn max_instances(mut self, instances: usize) -> Self {
        self.most_rooms = instances;
        self
    }

    /// After how much silence a socket is pinged, and how long it may then take: 25 s and 20 s by default. A socket
    /// that stays silent is closed with 4408.
    pub fn keep_alive(mut self, every: Duration, within: Duration) -> Self {
        (self.limits.ping_every, self.limits.pong_within) = (every.min(LONGEST), within.min(LONGEST));
        self
    }

    /// How long an event stream's client may take nothing of it: 60 s by default, and 30 s at least. Then, at most as long
    /// again later, it is no longer in its rooms.
    pub fn stalled_within(mut self, time: Duration) -> Self {
        self.limits.stall = time.min(LONGEST);
        self
    }

    /// How long draining may take, whatever clients do: 15 s by default.
    pub fn drain_within(mut self, time: Duration) -> Self {
        self.limits.drain = time.min(LONGEST);
        self
    }

    /// Builds the server.
    ///
    /// # Errors
    ///
    /// The configuration contradicts itself, or the declaration: the error says where. Or the store can't be read.
    ///
    /// Does not compile if a room requires an identity that the authenticator's doesn't [provide](crate::Provides).
    pub fn build(self) -> Building<A::Server>
    where
        A: Admits<I>,
    {
        Building(Box::pin(self.finish(A::ASKED)))
    }

    async fn finish(self, asked: &'static [Asked]) -> Result<A::Server, Error> {
        let asked = asked.iter().copied().chain(std::iter::repeat(Asked::NOTHING));
        let rooms = A::ROOMS.iter().zip(asked).enumerate();
        let rooms: Vec<_> =
            rooms.map(|(index, (room, asked))| Arc::new(room.describe(index, asked))).collect();
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
        self.paths.check()?;
        if let Some(origin) = self.origins.unheard_of() {
            return Err(Error::configuration(format!(
                "`{origin}` is no origin; one is written as in `https://acme.example` or `http://localhost:5173`"
            )));
        }
        let mut identity = self.identity;
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
        let gates = A::ROOMS.iter().map(super::Declared::guard).collect();
        let runtime = Handle::current();
        #[cfg(feature = "push")]
        let store = self.store.clone();
        let archive = self.store.map(|store| Archive::new(store, &runtime));
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
        let registry = Registry::new(rooms, self.most_rooms, archive, runtime);
        registry.open().await.map_err(Error::store)?;
        let directory = Arc::new(Directory::new(self.limits.connections));
        #[cfg(feature = "push")]
        let push = opened.map(|opened| Dispatch::start(opened, store, &registry, &directory, longest_after));
        #[cfg(not(feature = "push"))]
        let push = None;
        let rules = Rules {
            identity,
            limits: self.limits,
            origins: self.origins,
            hooks: self.hooks,
            directory,
            push,
        };
        let engine = Engine::new(registry, gates, rules, schema);
        Ok(Server { engine, paths: Arc::new(self.paths) }.into())
    }
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

impl<A: Application, I> fmt::Debug for ServerBuilder<A, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("paths", &self.paths).finish_non_exhaustive()
    }
}
