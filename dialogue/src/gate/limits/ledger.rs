//! What every client has left, in bounded memory.
//!
//! A client is 8 bytes here, a keyed hash, and what it has left is 8 more. Who has everything left again is forgotten,
//! since that changes nothing. Beyond the bound nobody is forgotten who would be better off for it: newcomers then share
//! what one of them may do, so that a flood of keys resets no limit, and costs newcomers alone.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use governor::{nanos::Nanos, state::StateStore};
use parking_lot::Mutex;
use tokio::time::Instant;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ledger {
    shards: [Mutex<Shard>; SHARDS],
    /// Clients in a shard.
    most: usize,
    start: Instant,
}

#[derive(Debug, Default)]
struct Shard {
    /// When each has everything left again, since the start.
    clients: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// What newcomers share.
    newcomers: Option<u64>,
    /// At how many to look for those who may be forgotten.
    look_at: usize,
    /// When was looked last.
    looked: Option<Instant>,
}

const SHARDS: usize = 16;
/// Below this, nobody is looked for.
const FEW: usize = 64;
/// How often a full shard is looked through.
const PACE: Duration = Duration::from_secs(1);
/// The limiter's start is a moment after the ledger's.
const MOMENT: Duration = Duration::from_millis(1);

impl Ledger {
    /// For about so many clients at once.
    pub(super) fn new(clients: usize) -> Self {
        Ledger {
            shards: std::array::from_fn(|_| Mutex::default()),
            most: clients.div_ceil(SHARDS).max(1),
            start: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        let since = self.start.elapsed().saturating_sub(MOMENT);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl StateStore for Ledger {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, subject: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        // The map's own choice of a place is by the lowest bits and the highest.
        let shard = usize::try_from(*subject >> 32).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return decide(None).map(|(answer, _)| answer) };
        let mut shard = shard.lock();
        if let Some(left) = shard.clients.get_mut(subject) {
            let (answer, next) = decide(Some(Nanos::new(*left)))?;
            *left = next.as_u64();
            return Ok(answer);
        }
        if shard.is_full(self.most) {
            shard.forget(self.now());
        }
        if shard.clients.len() < self.most {
            let (answer, next) = decide(None)?;
            shard.clients.insert(*subject, next.as_u64());
            return Ok(answer);
        }
        let (answer, next) = decide(shard.newcomers.map(Nanos::new))?;
        shard.newcomers = Some(next.as_u64());
        Ok(answer)
    }
}

impl Shard {
    /// Whether it is time to look for who may be forgotten: each time that it has doubled, and at a pace at its bound.
    fn is_full(&self, most: usize) -> bool {
        match self.clients.len() {
            len if len < most => len >= self.look_at.max(FEW),
            _ => self.looked.is_none_or(|looked| looked.elapsed() >= PACE),
        }
    }

    /// Forgets who has everything left again.
    fn forget(&mut self, now: u64) {
        self.clients.retain(|_, whole| *whole > now);
        self.look_at = self.clients.len().saturating_mul(2);
        self.looked = Some(Instant::now());
        if self.clients.len() < self.clients.capacity() / 4 {
            self.clients.shrink_to(self.look_at);
        }
    }
}

/// Keys are hashes already, by a secret of this process.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Of a key that is none; ours come below.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
