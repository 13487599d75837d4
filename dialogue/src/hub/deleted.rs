//! Rooms that were deleted lately: a client that comes back to one by a position doesn't make it again.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write,
};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{
    Registry,
    archive::Archive,
    state::{now, unavailable},
};
use crate::{Refusal, store::StoreError};

/// Deletions of rooms, oldest first. Those of all rooms are in [`LISTS`] lists, each a record of the store where there is
/// one, so that the others of a deployment and a process that starts again know of them.
#[derive(Debug, Default)]
struct Deleted(VecDeque<Deletion>);

/// Which room was deleted, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deletion {
    /// The beginning of the hash of its id.
    room: u64,
    /// Unix milliseconds.
    at: u64,
}

/// The deletions of a server without a store.
#[derive(Debug, Default)]
pub(super) struct Deletions(Mutex<HashMap<u8, Deleted>>);

/// How long a deleted room is remembered, in milliseconds.
const KEPT_MS: u64 = 10 * 60 * 1_000;
/// The number of lists, and of the deletions of each: 16,384 together.
const LISTS: u64 = 64;
const MOST: usize = 256;
/// Bytes of a deletion in a record.
const BYTES: usize = 16;
/// Tries to change a list while other nodes change it, too.
const TRIES: usize = 16;

impl Registry {
    /// Returns whether a room that is no more was deleted lately.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub(crate) async fn was_deleted(&self, room_id: &str) -> Result<bool, Refusal> {
        // It may have been made again since.
        Ok(self.is_deleted(room_id).await? && self.size_elsewhere(room_id).await? == 0)
    }

    /// Returns whether the room was deleted, also while this node's own members are still counted in it.
    pub(super) async fn is_deleted(&self, room_id: &str) -> Result<bool, Refusal> {
        if self.find(room_id).is_some() {
            return Ok(false);
        }
        let room = hash(room_id);
        let Some(archive) = &self.archive else {
            return Ok(self
                .deletions
                .0
                .lock()
                .get(&list_of(room))
                .is_some_and(|deleted| deleted.has(room, now())));
        };
        let unreadable = |_| unavailable(room_id);
        let list = archive.journal.get(&key(room)).await.map_err(unreadable)?;
        if !list.is_some_and(|list| Deleted::decode(&list).has(room, now())) {
            return Ok(false);
        }
        Ok(archive.known(room_id).await.map_err(unreadable)?.is_none())
    }

    /// Remembers that a room is about to be deleted.
    ///
    /// # Errors
    ///
    /// The store can't be written.
    pub(super) async fn note_deletion(&self, room_id: &str) -> Result<(), StoreError> {
        let room = hash(room_id);
        match &self.archive {
            Some(archive) => archive.note_deletion(room).await,
            None => {
                self.deletions.0.lock().entry(list_of(room)).or_default().note(room, now());
                Ok(())
            }
        }
    }
}

impl Archive {
    async fn note_deletion(&self, room: u64) -> Result<(), StoreError> {
        let key = key(room);
        for _ in 0..TRIES {
            let before = self.journal.get(&key).await?;
            let mut list = before.as_deref().map(Deleted::decode).unwrap_or_default();
            list.note(room, now());
            if self.journal.swap(&key, before, Some(list.encode())).await? {
                return Ok(());
            }
        }
        Err(StoreError::new("other nodes kept changing which rooms were deleted"))
    }
}

impl Deleted {
    /// Notes a deletion, and forgets those that are too old or too many.
    fn note(&mut self, room: u64, now: u64) {
        self.0.retain(|deletion| deletion.room != room && deletion.is_fresh(now));
        self.0.push_back(Deletion { room, at: now });
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    fn has(&self, room: u64, now: u64) -> bool {
        self.0.iter().any(|deletion| deletion.room == room && deletion.is_fresh(now))
    }

    fn encode(&self) -> Bytes {
        self.0
            .iter()
            .flat_map(|Deletion { room, at }| [room.to_be_bytes(), at.to_be_bytes()])
            .flatten()
            .collect()
    }

    fn decode(bytes: &[u8]) -> Self {
        let deletion = |bytes: &[u8]| {
            let (room, at) = bytes.split_first_chunk()?;
            Some(Deletion { room: u64::from_be_bytes(*room), at: u64::from_be_bytes(at.try_into().ok()?) })
        };
        Deleted(bytes.chunks_exact(BYTES).filter_map(deletion).collect())
    }
}

impl Deletion {
    fn is_fresh(self, now: u64) -> bool {
        now.saturating_sub(self.at) < KEPT_MS
    }
}

fn hash(room_id: &str) -> u64 {
    Sha256::digest(room_id).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn list_of(room: u64) -> u8 {
    u8::try_from(room % LISTS).unwrap_or(0)
}

fn key(room: u64) -> String {
    let mut key = "deleted/".to_owned();
    // Writing to a string can't fail.
    let _ = write!(key, "{:02x}", list_of(room));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_is_remembered_for_ten_minutes() {
        let mut deleted = Deleted::default();
        deleted.note(7, 1_000);
        assert!(deleted.has(7, 1_000) && !deleted.has(8, 1_000));
        assert!(deleted.has(7, 1_000 + KEPT_MS - 1) && !deleted.has(7, 1_000 + KEPT_MS));
        // Of a node whose clock is ahead.
        assert!(deleted.has(7, 0));
        deleted.note(7, 2_000);
        assert_eq!((deleted.0.len(), deleted.has(7, 1_000 + KEPT_MS)), (1, true));
        deleted.note(9, 2_000 + KEPT_MS);
        assert_eq!(deleted.0.len(), 1);
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut deleted = Deleted::default();
        (0..1_000).for_each(|room| deleted.note(room, room));
        assert_eq!(
            (deleted.0.len(), deleted.has(999, 999), deleted.has(999 - 256, 999)),
            (MOST, true, false)
        );
        assert!(deleted.encode().len() < 64 << 10);
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let mut deleted = Deleted::default();
        [u64::MAX, 0, 7].into_iter().for_each(|room| deleted.note(room, room));
        assert_eq!(Deleted::decode(&deleted.encode()).0, deleted.0);
        assert_eq!(Deleted::decode(b"what is in its place").0.len(), 1);
        assert!(Deleted::decode(b"").0.is_empty());
    }
}
