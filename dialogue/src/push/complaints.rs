//! What providers complain of, in the program's log, and not a thousand times a second.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// When each kind of complaint was last said, and how often it was not since. There are few kinds: they are ours.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<(&'static str, String), (Instant, u64)>>);

/// From one to the next of a kind.
const EVERY: Duration = Duration::from_secs(10);

impl Complaints {
    /// Logs what a provider says, unless it said the like a moment ago.
    pub(super) fn say(&self, provider: &'static str, what: &str, reason: &str) {
        let now = Instant::now();
        let unsaid = {
            let mut said = self.0.lock();
            let (last, unsaid) = said.entry((provider, what.to_owned())).or_insert((now - EVERY, 0));
            if now - *last < EVERY {
                *unsaid += 1;
                return;
            }
            *last = now;
            std::mem::take(unsaid)
        };
        tracing::warn!(provider, reason, unsaid, "{what}");
    }
}
