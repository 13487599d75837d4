//! The rate limiter state of each client, in bounded memory.
//!
//! The entry of a client is its key, a keyed hash of 8 bytes, and its state of 8 bytes: GCRA's theoretical arrival
//! time, at which the client's full rate is available again. An entry whose time has passed carries no information and
//! is removed. When a shard is full, no other entry is evicted: clients without an entry share one, so that a flood of
//! keys resets no client's limit, and only new clients bear the cost.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use governor::{nanos::Nanos, state::StateStore};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A `governor` state store for a bounded number of clients. See the [module](self).
#[derive(Debug)]
pub(super) struct BoundedStateStore {
    shards: [Mutex<Shard>; SHARDS],
    max_clients_per_shard: usize,
    start: Instant,
}

#[derive(Debug, Default)]
struct Shard {
    /// The arrival time of each client, in nanoseconds since the start.
    clients: HashMap<u64, u64, BuildHasherDefault<IdentityHasher>>,
    /// The arrival time that clients without an entry share.
    overflow: Option<u64>,
    /// The number of clients at which expired entries are next removed.
    next_sweep_len: usize,
    /// The time at which expired entries were last removed.
    last_sweep: Option<Instant>,
}

const SHARDS: usize = 16;
/// The number of clients in a shard below which expired entries are kept.
const MIN_SWEEP_LEN: usize = 64;
/// The minimum interval between two sweeps of a full shard.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// An upper bound of the time between the creation of this store and that of its limiter, whose times count from there.
const START_TOLERANCE: Duration = Duration::from_millis(1);

impl BoundedStateStore {
    /// Creates a store for approximately `max_clients`.
    pub(super) fn new(max_clients: usize) -> Self {
        BoundedStateStore {
            shards: std::array::from_fn(|_| Mutex::default()),
            max_clients_per_shard: max_clients.div_ceil(SHARDS).max(1),
            start: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        let since = self.start.elapsed().saturating_sub(START_TOLERANCE);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl StateStore for BoundedStateStore {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, client: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // Middle bits: the hash map indexes by the lowest and tags by the highest.
        let shard = usize::try_from(*client >> 32).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return decide(None).map(|(decision, _)| decision) };
        let mut shard = shard.lock();
        if let Some(arrival) = shard.clients.get_mut(client) {
            let (decision, next) = decide(Some(Nanos::new(*arrival)))?;
            *arrival = next.as_u64();
            return Ok(decision);
        }
        if shard.is_sweep_due(self.max_clients_per_shard) {
            shard.sweep(self.now());
        }
        if shard.clients.len() < self.max_clients_per_shard {
            let (decision, next) = decide(None)?;
            shard.clients.insert(*client, next.as_u64());
            return Ok(decision);
        }
        let (decision, next) = decide(shard.overflow.map(Nanos::new))?;
        shard.overflow = Some(next.as_u64());
        Ok(decision)
    }
}

impl Shard {
    /// Returns whether expired entries are to be removed: each time the shard has doubled, and at an interval when it
    /// is full.
    fn is_sweep_due(&self, max_clients: usize) -> bool {
        match self.clients.len() {
            len if len < max_clients => len >= self.next_sweep_len.max(MIN_SWEEP_LEN),
            _ => self.last_sweep.is_none_or(|last| last.elapsed() >= SWEEP_INTERVAL),
        }
    }

    /// Removes the entries of clients whose full rate is available again.
    fn sweep(&mut self, now: u64) {
        self.clients.retain(|_, arrival| *arrival > now);
        self.next_sweep_len = self.clients.len().saturating_mul(2);
        self.last_sweep = Some(Instant::now());
        if self.clients.len() < self.clients.capacity() / 4 {
            self.clients.shrink_to(self.next_sweep_len);
        }
    }
}

/// A hasher that returns its key: keys are hashes already, keyed by a secret of this process.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Required by the trait; `u64` keys are written by `write_u64`.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
