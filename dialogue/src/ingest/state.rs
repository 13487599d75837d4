//! The state of ingest: what the path of events needs of the server.

use std::{fmt, sync::Arc};

use super::{AnyRoom, DetachedIngests};
use crate::{
    drain::Drain,
    hooks::AnyHooks,
    limits::{ConnectionLimiter, Limiter},
    live::{Access, Registry, UserConnections},
    push::PushDispatcher,
};

/// The path of events into rooms, and what it needs of the server.
pub(crate) struct Ingest {
    pub(crate) registry: Arc<Registry>,
    /// The decoding and middleware of each declared room.
    pub(crate) rooms: Vec<Arc<dyn AnyRoom>>,
    pub(crate) access: Access,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) connection_limiter: Arc<ConnectionLimiter>,
    /// The application's hooks; `None` if it has set none, so that events skip them at no cost.
    pub(crate) hooks: Option<Arc<dyn AnyHooks>>,
    /// The dispatcher of push notifications; `None` without a push provider.
    pub(crate) push: Option<Arc<PushDispatcher>>,
    pub(crate) directory: Arc<UserConnections>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) detached: DetachedIngests,
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").finish_non_exhaustive()
    }
}
