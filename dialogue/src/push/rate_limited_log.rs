//! Rate-limited warnings about providers: at most one of a kind every 10 s, so that 100,000 failing devices don't fill
//! the log.

use std::{collections::hash_map::Entry, time::Duration};

use crate::collections::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The last warning of each kind, by provider and text. Both are constants of the program, so that the map stays small.
#[derive(Debug, Default)]
pub(super) struct RateLimitedLog(Mutex<HashMap<(&'static str, &'static str), LastWarning>>);

#[derive(Debug)]
struct LastWarning {
    at: Instant,
    /// The number of warnings that were left out since.
    suppressed: u64,
}

/// The least time between two warnings of a kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

impl RateLimitedLog {
    /// Logs `message` with the provider's reason, or counts it as suppressed if the last of its kind is less than 10 s
    /// old.
    pub(super) fn warn(&self, provider: &'static str, message: &'static str, reason: &str) {
        let now = Instant::now();
        let suppressed = {
            let mut warnings = self.0.lock();
            match warnings.entry((provider, message)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(LastWarning { at: now, suppressed: 0 });
                    0
                }
                Entry::Occupied(mut occupied) => {
                    let last = occupied.get_mut();
                    if now - last.at < WARNING_INTERVAL {
                        last.suppressed += 1;
                        return;
                    }
                    last.at = now;
                    std::mem::take(&mut last.suppressed)
                }
            }
        };
        tracing::warn!(provider, reason, suppressed, "{message}");
    }
}
