//! The job of pushing one event to one device: all attempts, until the provider takes it or it is given up.

use std::sync::Arc;

use super::{device_registry::RoomRegistration, fanout::Fanout, retry_budget::RetryReservation};

/// One event for one device. There is exactly one job for each pair, whatever its outcome.
#[derive(Debug, Clone)]
pub(super) struct PushJob {
    pub(super) fanout: Arc<Fanout>,
    pub(super) registration: RoomRegistration,
    /// The number of attempts that were made.
    pub(super) attempts: u32,
    /// The number of times that the device's service had no free send slot. These aren't attempts.
    pub(super) deferrals: u32,
    /// Set if the store has a record of the job, so that a restart goes on with it.
    pub(super) is_recorded: bool,
    /// The push service that the device is at, once its registration was read; `None` for a provider with one service.
    pub(super) origin: Option<Arc<str>>,
    /// The memory reserved for the event, while the job waits for a retry.
    pub(super) reservation: Option<Arc<RetryReservation>>,
    /// A clone of the scheduler's counter of resumed jobs, if another process began the job.
    pub(super) resume_token: Option<Arc<()>>,
}

impl PushJob {
    pub(super) fn new(fanout: Arc<Fanout>, registration: RoomRegistration) -> Self {
        PushJob {
            fanout,
            registration,
            attempts: 0,
            deferrals: 0,
            is_recorded: false,
            origin: None,
            reservation: None,
            resume_token: None,
        }
    }
}
