//! The state that the scheduler, the providers' workers and the takeover share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

use super::{
    device_registry::DeviceRegistry, last_seen::LastSeen, pending::PendingPushes,
    rate_limited_log::RateLimitedLog, retry_budget::RetryBudget,
};
use crate::{hooks::AnyHooks, live::UserConnections};

/// The shared state of the push module.
pub(super) struct PushContext {
    pub(super) devices: DeviceRegistry,
    pub(super) directory: Arc<UserConnections>,
    pub(super) last_seen: LastSeen,
    pub(super) log: RateLimitedLog,
    /// The records of pushes on their way; `None` without a store that outlives the process.
    pub(super) pending: Option<PendingPushes>,
    /// The application's hooks, of which `before_push` decides whether a user still gets pushes.
    pub(super) hooks: Option<Arc<dyn AnyHooks>>,
    /// The memory of events that only retries still hold.
    pub(super) retry_budget: Arc<RetryBudget>,
    /// Set when the process is about to end: workers begin no further attempt, and another process goes on.
    pub(super) is_draining: AtomicBool,
    /// The number of attempts in flight, of all workers.
    pub(super) in_flight: AtomicUsize,
}
