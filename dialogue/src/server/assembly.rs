//! Assembling a server from its settings, in three steps: [`declare`] checks the declared rooms and the settings
//! against each other, [`connect`](DeclaredServer::connect) opens the storage, and [`start`](ConnectedServer::start)
//! starts the engine over both.

use std::{mem, sync::Arc};

use tokio::runtime::Handle;

use super::{
    Error, Server,
    application::schema,
    builder::{AccessSettings, ObservationSettings, RoomSettings, Settings, StorageSettings},
};
use crate::{
    cluster::{
        Cluster,
        backplane::{AnyBackplane, Feed},
    },
    engine::{Admission, Engine, EngineParts, Observed},
    identity::ServerKeys,
    ingest::AnyRoom,
    limits::{ConnectionLimiter, Limiter},
    live::{Access, Archive, Registry, RoomSpec, UserConnections},
    observe::{InstrumentedBackplane, InstrumentedStore, MetricsEndpoint, MetricsReader, ServerMetrics},
    push::{Push, PushDispatcher, PushSetup},
    room::Channel,
    store::AnyStore,
};

/// Settings and declared rooms that fit each other.
pub(super) struct DeclaredServer {
    settings: Settings,
    rooms: Vec<Arc<RoomSpec>>,
    /// `None` if nobody reads metrics.
    metrics: Option<Arc<ServerMetrics>>,
    endpoints: Vec<MetricsEndpoint>,
    push: Option<PushSetup>,
}

/// A server whose storage is open.
pub(super) struct ConnectedServer {
    declared: DeclaredServer,
    /// `None` if the server keeps its logs in memory.
    archive: Option<Arc<Archive>>,
    /// What other nodes send.
    feed: Option<Feed>,
}

/// Gives the declared rooms their meters and traces, and checks them and the settings against each other.
///
/// # Errors
///
/// A configuration that contradicts itself or the declaration.
pub(super) fn declare(mut settings: Settings, mut rooms: Vec<RoomSpec>) -> Result<DeclaredServer, Error> {
    let ObservationSettings { exporters, traces } = &settings.observation;
    let metrics =
        (!exporters.is_empty() || settings.routes.inspector.is_some()).then(|| add_meters(&mut rooms));
    rooms.iter_mut().for_each(|room| room.traces = traces.clone());
    let endpoints: Vec<_> = exporters.iter().filter_map(|exporter| exporter.endpoint()).collect();
    check_reachable(&rooms, &settings)?;
    settings.routes.check(&endpoints)?;
    check_access(&settings.access, settings.routes.inspector.is_some())?;
    let AccessSettings { identity, server_keys, .. } = &mut settings.access;
    server_keys.iter().for_each(|key| identity.server_keys.add(key));
    check_storage(&settings.storage, &rooms)?;
    Ok(DeclaredServer {
        rooms: rooms.into_iter().map(Arc::new).collect(),
        metrics,
        endpoints,
        push: settings.push.take().map(Push::open).transpose()?,
        settings,
    })
}

impl DeclaredServer {
    /// Opens the store, or joins the other nodes.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(super) async fn connect(mut self) -> Result<ConnectedServer, Error> {
        let runtime = Handle::current();
        let StorageSettings { store, backplane } = mem::take(&mut self.settings.storage);
        let (archive, feed) = match (backplane, store) {
            (Some(backplane), _) => {
                let backplane: Arc<dyn AnyBackplane> =
                    InstrumentedBackplane::new(backplane, self.metrics.clone());
                let joined = Cluster::join(Arc::clone(&backplane), runtime.clone()).await;
                let (cluster, feed) = joined.map_err(Error::from)?;
                (Some(Archive::shared(backplane, cluster, &runtime)), Some(feed))
            }
            (None, Some(store)) => {
                let store: Arc<dyn AnyStore> = InstrumentedStore::new(store, self.metrics.clone());
                (Some(Archive::new(store, &runtime)), None)
            }
            (None, None) => (None, None),
        };
        if let Some(archive) = &archive {
            let secret = archive.secret().await.map_err(Error::from)?;
            self.settings.access.identity.set_anonymous_key(&secret);
        }
        Ok(ConnectedServer { declared: self, archive, feed })
    }
}

impl ConnectedServer {
    /// Starts the engine, and attaches the exporters of metrics to it. `any_rooms` are the declared rooms in their
    /// order.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(super) async fn start(self, any_rooms: Vec<Arc<dyn AnyRoom>>) -> Result<Server, Error> {
        let ConnectedServer { declared, archive, feed } = self;
        let DeclaredServer { settings, rooms, metrics, endpoints, .. } = declared;
        let Settings { routes, access, rates, bounds, observation, .. } = settings;
        let schema = schema(&rooms);
        let limiter =
            Arc::new(Limiter::new(&rates, rooms.iter().map(|room| (room.name, room.options.limit))));
        let connection_limiter = ConnectionLimiter::new(
            &rates,
            bounds.clients.max_connections_per_address,
            bounds.clients.proxies > 0,
        );
        let longest_push_delay = longest_push_delay(&rooms);
        let RoomSettings { max_instances, new_rooms } = settings.rooms;
        let registry = Registry::new(rooms, max_instances, new_rooms, archive, Handle::current());
        if let Some(feed) = feed {
            registry.follow_other_nodes(feed);
        }
        registry.open().await.map_err(Error::from)?;
        let directory = Arc::new(UserConnections::new(bounds.clients.max_connections_per_user));
        let push = declared.push.map(|push| {
            PushDispatcher::start(push, &registry, &directory, access.hooks.clone(), longest_push_delay)
        });
        let push = push.transpose()?;
        let engine = Engine::new(EngineParts {
            registry,
            any_rooms,
            schema,
            admission: Admission {
                access: Access::new(access.hooks.clone()),
                identity: access.identity,
                origins: access.origins,
                limiter,
                connection_limiter,
            },
            hooks: access.hooks,
            bounds,
            directory,
            push,
            observed: Observed { metrics, traces: observation.traces },
        });
        if let Some(metrics) = &engine.observed.metrics {
            let sampled = Arc::downgrade(&engine);
            metrics.set_sampler(move || sampled.upgrade().map(|engine| engine.sample()));
            observation.exporters.iter().for_each(|exporter| exporter.attach(MetricsReader::new(metrics)));
        }
        Ok(Server {
            engine,
            routes: Arc::new(routes),
            endpoints: endpoints.into(),
            exporters: observation.exporters.into(),
        })
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

fn check_reachable(rooms: &[RoomSpec], settings: &Settings) -> Result<(), Error> {
    let is_served = |channel: &Channel| match channel {
        Channel::WebSocket => settings.routes.websocket.is_some(),
        Channel::Sse => settings.routes.sse.is_some(),
        Channel::WebPush => settings.push.is_some(),
    };
    match rooms.iter().find(|room| !room.channels.iter().any(is_served)) {
        None => Ok(()),
        Some(room) => Err(Error::other(format!(
            "room `{}` is reachable over none of the channels that the server has; \
             remove `without_websocket` or `without_sse`, add `push`, or remove the room",
            room.name
        ))),
    }
}

/// Checks the origins, and adds the server keys to those that identify the application's backend.
fn check_access(access: &AccessSettings, has_inspector: bool) -> Result<(), Error> {
    if let Some(origin) = access.origins.invalid_entry() {
        return Err(Error::other(format!(
            "`{origin}` is not an origin; write one as in `https://acme.example` or `http://localhost:5173`"
        )));
    }
    if has_inspector && access.server_keys.is_empty() {
        return Err(Error::other(
            "the inspector authenticates operators by a server key: set one with `server_key`",
        ));
    }
    for key in &access.server_keys {
        if key.len() < ServerKeys::MIN_BYTES {
            return Err(Error::other(format!(
                "a server key must have at least {} bytes; generate one with `openssl rand -base64 32`",
                ServerKeys::MIN_BYTES
            )));
        }
    }
    Ok(())
}

fn check_storage(storage: &StorageSettings, rooms: &[RoomSpec]) -> Result<(), Error> {
    if storage.store.is_some() && storage.backplane.is_some() {
        return Err(Error::other(
            "a backplane is also the store: remove the `store`, or the `backplane` of a single node",
        ));
    }
    let is_stored = storage.store.is_some() || storage.backplane.is_some();
    match rooms.iter().find(|room| room.options.retention.forever && !is_stored) {
        None => Ok(()),
        Some(room) => Err(Error::other(format!(
            "room `{}` retains its events for ever, which needs a store: set one with `store`",
            room.name
        ))),
    }
}

/// Returns the longest time after which a member without a connection is notified of an event.
fn longest_push_delay(rooms: &[Arc<RoomSpec>]) -> std::time::Duration {
    let pushed = rooms.iter().flat_map(|room| &room.events).filter_map(|kind| kind.push);
    pushed.map(|pushed| pushed.after).max().unwrap_or_default()
}
