//! Changing a room's own state, one instance at a time.
//!
//! `lock/ID` says which instance is at it, and since when. The record of the state itself is only ever written over what it
//! was, so that nothing is lost even if a lock is given up too early.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

use super::Archive;
use crate::{hub::state::now, store::StoreError, wire::Id};

/// How long one waits for the others.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long a lock is given up: whoever had it is gone, in milliseconds.
const GIVEN_UP_MS: u64 = 20_000;

/// A room's state is this instance's to change, for as long as this is kept.
pub(crate) struct StateLock {
    archive: Arc<Archive>,
    room_id: Arc<str>,
    /// What the lock's record says.
    own: Bytes,
    runtime: Handle,
}

impl Archive {
    /// Waits until no other instance changes a room's state; `None` where there are no others.
    pub(in crate::hub) async fn lock_state(
        self: &Arc<Self>,
        room_id: &Arc<str>,
        runtime: &Handle,
    ) -> Result<Option<StateLock>, StoreError> {
        let Some(peers) = &self.peers else { return Ok(None) };
        let (key, until) = (lock_of(room_id), Instant::now() + PATIENCE);
        loop {
            let held = self.journal.get(&key).await?;
            let holder = held.as_deref().and_then(read);
            let free = holder.is_none_or(|(peer, since)| {
                !peers.there().contains(&peer) || now().saturating_sub(since) > GIVEN_UP_MS
            });
            let own = Bytes::from(format!("{} {} {}", peers.id(), now(), fastrand::u64(..)));
            if free && self.journal.swap(&key, held, Some(own.clone())).await? {
                let (archive, room_id) = (Arc::clone(self), Arc::clone(room_id));
                return Ok(Some(StateLock { archive, room_id, own, runtime: runtime.clone() }));
            }
            if Instant::now() >= until {
                return Err(StoreError::new("other instances change the room's state all the time"));
            }
            sleep(Duration::from_millis(fastrand::u64(2..20))).await;
        }
    }
}

impl Drop for StateLock {
    /// Others may be at it.
    fn drop(&mut self) {
        let (archive, room_id, own) =
            (Arc::clone(&self.archive), Arc::clone(&self.room_id), self.own.clone());
        // It ends with a bounded call; if it can't be said, the lock is given up in time.
        self.runtime.spawn(async move {
            if let Err(error) = archive.journal.swap(&lock_of(&room_id), Some(own), None).await {
                tracing::debug!(%room_id, %error, "the lock of a room's state can't be given back");
            }
        });
    }
}

fn lock_of(room_id: &str) -> String {
    format!("lock/{room_id}")
}

fn read(record: &[u8]) -> Option<(Id, u64)> {
    let mut parts = std::str::from_utf8(record).ok()?.split(' ');
    Some((Id::parse(parts.next()?)?, parts.next()?.parse().ok()?))
}
