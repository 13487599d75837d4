//! What providers complain of, in the program's log, and not a thousand times a second.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the [module](self). There are few kinds: they are ours.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<HashMap<(&'static str, &'static str), Said>>);

/// When something was last said, and how often it was not since.
#[derive(Debug)]
struct Said {
    last: Instant,
    unsaid: u64,
}

/// From one to the next of a kind.
const EVERY: Duration = Duration::from_secs(10);

impl Complaints {
    /// Logs what a provider says, unless it said the like a moment ago.
    pub(super) fn say(&self, provider: &'static str, what: &'static str, reason: &str) {
        let now = Instant::now();
        let unsaid = {
            let mut said = self.0.lock();
            match said.entry((provider, what)) {
                Entry::Vacant(place) => {
                    place.insert(Said { last: now, unsaid: 0 });
                    0
                }
                Entry::Occupied(mut place) => {
                    let said = place.get_mut();
                    if now - said.last < EVERY {
                        said.unsaid += 1;
                        return;
                    }
                    said.last = now;
                    std::mem::take(&mut said.unsaid)
                }
            }
        };
        tracing::warn!(provider, reason, unsaid, "{what}");
    }
}
