//! The parts of an engine, as the assembly of a server makes them.

use std::sync::Arc;

use super::ServerBounds;
use super::origins::Origins;
use crate::{
    hooks::AnyHooks,
    identity::Authentication,
    ingest::AnyRoom,
    limits::{ConnectionLimiter, Limiter},
    live::{Access, Registry, UserConnections},
    observe::{ServerMetrics, Traces},
    push::PushDispatcher,
};

/// The parts of an [`Engine`](super::Engine).
pub(crate) struct EngineParts {
    pub(crate) registry: Arc<Registry>,
    /// The decoding and middleware of each declared room.
    pub(crate) any_rooms: Vec<Arc<dyn AnyRoom>>,
    pub(crate) schema: String,
    pub(crate) admission: Admission,
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    pub(crate) bounds: ServerBounds,
    pub(crate) directory: Arc<UserConnections>,
    pub(crate) push: Option<Arc<PushDispatcher>>,
    pub(crate) observed: Observed,
}

/// The checks by which a client is admitted: to the server, to its rooms, and how often.
pub(crate) struct Admission {
    pub(crate) identity: Authentication,
    pub(crate) origins: Origins,
    pub(crate) access: Access,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
}

/// The reports of the server's work.
pub(crate) struct Observed {
    /// `None` without a metrics exporter.
    pub(crate) metrics: Option<Arc<ServerMetrics>>,
    pub(crate) traces: Traces,
}
