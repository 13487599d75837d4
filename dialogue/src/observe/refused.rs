//! Refused clients in the program's log, and not a thousand times a second.

use std::{net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// The log of refused clients. An operator whose proxy isn't known to the settings finds out by it why everybody is
/// refused, and one whose bounds are too low for its users why some are.
#[derive(Debug, Default)]
pub(crate) struct RefusedLog(Mutex<Logged>);

/// The time of the last logged refusal, and the number of those since that were not.
#[derive(Debug, Default)]
struct Logged {
    last: Option<Instant>,
    unsaid: u64,
}

/// From one logged refusal to the next.
const EVERY: Duration = Duration::from_secs(60);

impl RefusedLog {
    /// Logs that `address` is refused, unless another was a moment ago. `reason` names the bound or limit.
    pub(crate) fn address(&self, address: IpAddr, reason: &'static str) {
        if let Some(unsaid) = self.due() {
            tracing::warn!(%address, reason, unsaid, "an address is refused; if it is a proxy's, set `behind_proxies`");
        }
    }

    /// Logs that a user is refused likewise.
    pub(crate) fn user(&self, user_id: &str, reason: &'static str) {
        if let Some(unsaid) = self.due() {
            tracing::warn!(user_id, reason, unsaid, "a user is refused; if it needs more, raise the bound");
        }
    }

    /// The number of refusals that were not logged since the last that was; `None` if that was a moment ago.
    fn due(&self) -> Option<u64> {
        let mut logged = self.0.lock();
        if logged.last.is_some_and(|last| last.elapsed() < EVERY) {
            logged.unsaid += 1;
            return None;
        }
        Some(std::mem::replace(&mut *logged, Logged { last: Some(Instant::now()), unsaid: 0 }).unsaid)
    }
}
