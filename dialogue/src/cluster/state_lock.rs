//! The lock of a room's saved state, which one node changes at a time.
//!
//! The record `lock/ID` holds the node that has the lock, the time since when, and a random number. The state itself is
//! changed by compare-and-swap, so that no change is lost even if a lock expires too early.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::{Cluster, with_timeout};
use crate::{store::StoreError, wire::Id};

/// The time after which waiting for the lock fails.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The age at which a lock expires, since its holder must have died, in milliseconds.
const LOCK_EXPIRY_MS: u64 = 20_000;

/// The lock of a room's saved state, released when it is dropped.
#[derive(Debug)]
pub(crate) struct StateLock {
    cluster: Arc<Cluster>,
    room_id: Arc<str>,
    /// The content of the lock's record.
    own: Bytes,
}

impl Cluster {
    /// Waits for the lock of a room's saved state; `unix_ms` returns the time in Unix milliseconds.
    pub(crate) async fn lock_state(
        self: &Arc<Self>,
        room_id: &Arc<str>,
        unix_ms: fn() -> u64,
    ) -> Result<StateLock, StoreError> {
        let (key, until) = (lock_key(room_id), Instant::now() + LOCK_TIMEOUT);
        loop {
            let held = with_timeout(self.backplane.get(&key)).await?;
            let holder = held.as_deref().and_then(read);
            let free = holder.is_none_or(|(node, since)| {
                !self.nodes().contains(&node) || unix_ms().saturating_sub(since) > LOCK_EXPIRY_MS
            });
            let own = Bytes::from(format!("{} {} {}", self.id(), unix_ms(), fastrand::u64(..)));
            let swap = || self.backplane.compare_and_swap(&key, held, Some(own.clone()));
            if free && with_timeout(swap()).await? {
                return Ok(StateLock { cluster: Arc::clone(self), room_id: Arc::clone(room_id), own });
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
        let (cluster, room_id, own) =
            (Arc::clone(&self.cluster), Arc::clone(&self.room_id), self.own.clone());
        // The task ends with a bounded call; if that fails, the lock expires.
        self.cluster.runtime.spawn(async move {
            let key = lock_key(&room_id);
            let released = with_timeout(cluster.backplane.compare_and_swap(&key, Some(own), None)).await;
            if let Err(error) = released {
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
