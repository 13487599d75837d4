//! The lock of a room's saved state, which one node changes at a time.
//!
//! The record `lock/ID` holds the node that has the lock, the time since when, and a random number. The state itself is
//! changed by compare-and-swap, so that no change is lost even if a lock expires too early.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::Cluster;
use crate::{
    store::{StoreError, StoreFuture},
    wire::Id,
};

/// The records that the nodes share, behind the checks of the store's health.
pub(crate) trait LockRecords: Send + Sync {
    /// Returns the value of a record.
    fn get<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;

    /// Replaces the value of a record if it is `old`; returns whether it was.
    fn swap<'a>(&'a self, key: &'a str, old: Option<Bytes>, new: Option<Bytes>) -> StoreFuture<'a, bool>;
}

/// The time after which waiting for the lock fails.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The age at which a lock expires, since its holder must have died, in milliseconds.
const LOCK_EXPIRY_MS: u64 = 20_000;

/// The lock of a room's saved state, released when it is dropped.
pub(crate) struct StateLock {
    records: Arc<dyn LockRecords>,
    room_id: Arc<str>,
    /// The content of the lock's record.
    own: Bytes,
    runtime: Handle,
}

impl Cluster {
    /// Waits for the lock of a room's saved state; `unix_ms` returns the time in Unix milliseconds.
    pub(crate) async fn lock_state(
        &self,
        records: Arc<dyn LockRecords>,
        room_id: &Arc<str>,
        unix_ms: fn() -> u64,
    ) -> Result<StateLock, StoreError> {
        let (key, until) = (lock_key(room_id), Instant::now() + LOCK_TIMEOUT);
        loop {
            let held = records.get(&key).await?;
            let holder = held.as_deref().and_then(read);
            let free = holder.is_none_or(|(node, since)| {
                !self.nodes().contains(&node) || unix_ms().saturating_sub(since) > LOCK_EXPIRY_MS
            });
            let own = Bytes::from(format!("{} {} {}", self.id(), unix_ms(), fastrand::u64(..)));
            if free && records.swap(&key, held, Some(own.clone())).await? {
                let (room_id, runtime) = (Arc::clone(room_id), self.runtime.clone());
                return Ok(StateLock { records, room_id, own, runtime });
            }
            if Instant::now() >= until {
                return Err(StoreError::new(
                    "the lock of the room's state can't be acquired in time: other nodes keep changing the state",
                ));
            }
            sleep(Duration::from_millis(fastrand::u64(2..20))).await;
        }
    }
}

impl Drop for StateLock {
    /// Releases the lock in a task.
    fn drop(&mut self) {
        let (records, room_id, own) =
            (Arc::clone(&self.records), Arc::clone(&self.room_id), self.own.clone());
        // The task ends with a bounded call; if that fails, the lock expires.
        self.runtime.spawn(async move {
            if let Err(error) = records.swap(&lock_key(&room_id), Some(own), None).await {
                tracing::debug!(%room_id, %error, "the lock of a room's state can't be released");
            }
        });
    }
}

fn lock_key(room_id: &str) -> String {
    format!("lock/{room_id}")
}

fn read(record: &[u8]) -> Option<(Id, u64)> {
    let mut parts = std::str::from_utf8(record).ok()?.split(' ');
    Some((Id::parse(parts.next()?)?, parts.next()?.parse().ok()?))
}
