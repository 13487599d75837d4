//! The settings of a server in groups, as the builder's methods fill them.

use std::sync::Arc;

use crate::{
    cluster::backplane::AnyBackplane,
    engine::{ServerBounds, origins::Origins},
    hooks::AnyHooks,
    identity::Authentication,
    limits::RateLimits,
    live::NewRoomBounds,
    observe::{MetricsExporter, Traces},
    push::Push,
    server::routes::Routes,
    store::AnyStore,
};

/// The settings of a server.
#[derive(Default)]
pub(in crate::server) struct Settings {
    pub(in crate::server) routes: Routes,
    pub(in crate::server) access: AccessSettings,
    pub(in crate::server) rates: RateLimits,
    pub(in crate::server) bounds: ServerBounds,
    pub(in crate::server) rooms: RoomSettings,
    pub(in crate::server) storage: StorageSettings,
    pub(in crate::server) push: Option<Push>,
    pub(in crate::server) observation: ObservationSettings,
}

/// The settings of who may connect, and of what the application decides.
#[derive(Default)]
pub(in crate::server) struct AccessSettings {
    pub(in crate::server) identity: Authentication,
    pub(in crate::server) server_keys: Vec<String>,
    pub(in crate::server) origins: Origins,
    pub(in crate::server) hooks: Option<Arc<dyn AnyHooks>>,
}

/// How many instances of keyed rooms there are.
pub(in crate::server) struct RoomSettings {
    pub(in crate::server) max_instances: usize,
    pub(in crate::server) new_rooms: NewRoomBounds,
}

/// Where logs and rooms are kept: in memory without either.
#[derive(Default)]
pub(in crate::server) struct StorageSettings {
    pub(in crate::server) store: Option<Arc<dyn AnyStore>>,
    pub(in crate::server) backplane: Option<Arc<dyn AnyBackplane>>,
}

/// Who reads metrics, and which traces spans belong to.
#[derive(Default)]
pub(in crate::server) struct ObservationSettings {
    pub(in crate::server) exporters: Vec<Box<dyn MetricsExporter>>,
    pub(in crate::server) traces: Traces,
}

impl Default for RoomSettings {
    fn default() -> Self {
        RoomSettings { max_instances: 100_000, new_rooms: NewRoomBounds::default() }
    }
}
