//! The chains of a lane that wait for their next try, in bounded number: of the lane, of an origin, and of a device.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
    sync::Arc,
};

use tokio::time::Instant;

use super::{chain::Chain, device::DeviceId};

#[derive(Default)]
pub(super) struct Waiting {
    chains: BinaryHeap<Reverse<Place>>,
    of_origin: HashMap<Arc<str>, usize>,
    of_device: HashMap<DeviceId, usize>,
    /// Chains that another process began.
    resumed: usize,
}

struct Place {
    at: Instant,
    chain: Chain,
}

/// Chains that wait, apart from resumed ones.
const MOST: usize = 100_000;
/// Resumed chains of all lanes: they take no place of those that this process began.
pub(super) const MOST_RESUMED: usize = MOST / 2;
/// Those of a device. A device that is reached at last has no use for more, and one that never is holds no more events.
const MOST_OF_DEVICE: usize = 32;

impl Waiting {
    /// Returns whether a chain may wait. An origin has at most as many as are free, so that one whose every try fails
    /// leaves half of all to others, and two a third.
    pub(super) fn admits(&self, chain: &Chain) -> bool {
        let of_device = self.of_device.get(&chain.entry.registration.device).copied().unwrap_or_default();
        let of_origin = chain.origin.as_ref().and_then(|origin| self.of_origin.get(origin));
        let free = MOST.saturating_sub(self.chains.len() - self.resumed);
        free > of_origin.copied().unwrap_or_default() && of_device < MOST_OF_DEVICE
    }

    pub(super) fn push(&mut self, at: Instant, chain: Chain) {
        if let Some(origin) = &chain.origin {
            *self.of_origin.entry(Arc::clone(origin)).or_default() += 1;
        }
        *self.of_device.entry(chain.entry.registration.device.clone()).or_default() += 1;
        self.resumed += usize::from(chain.resumed.is_some());
        self.chains.push(Reverse(Place { at, chain }));
    }

    /// When the first is to be tried.
    pub(super) fn due(&self) -> Option<Instant> {
        self.chains.peek().map(|Reverse(first)| first.at)
    }

    pub(super) fn pop(&mut self) -> Option<Chain> {
        let Reverse(Place { chain, .. }) = self.chains.pop()?;
        self.resumed -= usize::from(chain.resumed.is_some());
        if let Some(origin) = &chain.origin {
            uncount(&mut self.of_origin, origin);
        }
        uncount(&mut self.of_device, &chain.entry.registration.device);
        Some(chain)
    }
}

fn uncount<K: Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
