//! The log lines about refused clients, at most one per minute.

use std::{net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Logs refused clients, at most one per [`LOG_INTERVAL`]. From these lines an operator learns that `behind_proxies`
/// isn't set (all clients share the proxy's address, and its bounds), or that a bound is too low for the users.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<LogState>);

/// The time of the last logged refusal, and the number of those since that were not.
#[derive(Debug, Default)]
struct LogState {
    last: Option<Instant>,
    suppressed: u64,
}

/// The minimum time between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

impl RefusalLog {
    /// Logs that `address` is refused, unless a line is not yet due. `reason` names the bound or rate limit.
    pub(crate) fn address(&self, address: IpAddr, reason: &'static str) {
        if let Some(suppressed) = self.due() {
            tracing::warn!(%address, reason, suppressed, "an address is refused; if it is a proxy's, set `behind_proxies`");
        }
    }

    /// Logs that a user is refused, unless a line is not yet due. `reason` names the bound or rate limit.
    pub(crate) fn user(&self, user_id: &str, reason: &'static str) {
        if let Some(suppressed) = self.due() {
            tracing::warn!(
                user_id,
                reason,
                suppressed,
                "a user is refused; if it needs more, raise the bound"
            );
        }
    }

    /// Returns the number of refusals since the last line, if another line is due, and otherwise counts this one.
    fn due(&self) -> Option<u64> {
        let mut logged = self.0.lock();
        if logged.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            logged.suppressed += 1;
            return None;
        }
        Some(
            std::mem::replace(&mut *logged, LogState { last: Some(Instant::now()), suppressed: 0 })
                .suppressed,
        )
    }
}
