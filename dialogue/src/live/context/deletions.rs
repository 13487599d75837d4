//! Recently deleted rooms: a client that comes back to one with a position doesn't create it again.

use std::{collections::VecDeque, fmt::Write, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::{
    collections::HashMap,
    live::{archive::Archive, clock::unix_ms},
    store::StoreError,
};

/// A list of deletions, oldest first. There are [`LIST_COUNT`] lists, each a record of the store where there is one, so
/// that other nodes and a restarted process know of them.
#[derive(Debug, Default)]
struct DeletionList(VecDeque<Deletion>);

/// The deletion of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Deletion {
    /// The prefix of the hash of its id.
    room: u64,
    /// Unix milliseconds.
    at: u64,
}

/// The record of recent deletions.
#[derive(Debug)]
pub(in crate::live) struct Deletions {
    archive: Option<Arc<Archive>>,
    /// The lists of a server without a store.
    in_memory: Mutex<HashMap<u8, DeletionList>>,
}

/// The time for which a deletion is remembered, in milliseconds.
const DELETION_RETENTION_MS: u64 = 10 * 60 * 1_000;
/// The number of lists, and of the deletions in each: 16,384 in all.
const LIST_COUNT: u64 = 64;
const MAX_DELETIONS_PER_LIST: usize = 256;
/// Bytes of a deletion in a record.
const DELETION_BYTES: usize = 16;
/// Attempts to change a list while other nodes change it, too.
const MAX_SWAP_ATTEMPTS: usize = 16;

impl Deletions {
    /// Creates the record of a node's deletions, which is in the store if there is one.
    pub(super) fn new(archive: Option<Arc<Archive>>) -> Self {
        Deletions { archive, in_memory: Mutex::default() }
    }

    /// Returns whether a room was deleted recently, and nobody has made it again: by joining it, or in the store, which
    /// has it again.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(in crate::live) async fn has(&self, room_id: &str) -> Result<bool, StoreError> {
        let is_named = self.names(room_id).await?;
        match &self.archive {
            Some(archive) if is_named => Ok(archive.known(room_id).await?.is_none()),
            _ => Ok(is_named),
        }
    }

    /// Returns whether the lists name a room, which may exist again.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(in crate::live) async fn names(&self, room_id: &str) -> Result<bool, StoreError> {
        let Some(archive) = &self.archive else { return Ok(self.names_in_memory(room_id)) };
        let room = hash(room_id);
        let list = archive.journal.get(&key(room)).await?;
        Ok(list.is_some_and(|list| DeletionList::decode(&list).has(room, unix_ms())))
    }

    /// Returns whether the lists of a server without a store name a room.
    pub(in crate::live) fn names_in_memory(&self, room_id: &str) -> bool {
        let lists = self.in_memory.lock();
        if lists.is_empty() {
            return false;
        }
        let room = hash(room_id);
        lists.get(&list_of(room)).is_some_and(|list| list.has(room, unix_ms()))
    }

    /// Notes that a room is about to be deleted.
    ///
    /// # Errors
    ///
    /// The store can't be written.
    pub(in crate::live) async fn note(&self, room_id: &str) -> Result<(), StoreError> {
        let room = hash(room_id);
        let Some(archive) = &self.archive else {
            self.in_memory.lock().entry(list_of(room)).or_default().note(room, unix_ms());
            return Ok(());
        };
        let key = key(room);
        for _ in 0..MAX_SWAP_ATTEMPTS {
            let before = archive.journal.get(&key).await?;
            let mut list = before.as_deref().map(DeletionList::decode).unwrap_or_default();
            list.note(room, unix_ms());
            if archive.journal.swap(&key, before, Some(list.encode())).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Forgets the deletion of a room that is made again.
    ///
    /// # Errors
    ///
    /// The store can't be read or written.
    pub(in crate::live) async fn withdraw(&self, room_id: &str) -> Result<(), StoreError> {
        let room = hash(room_id);
        let Some(archive) = &self.archive else {
            if let Some(list) = self.in_memory.lock().get_mut(&list_of(room)) {
                list.withdraw(room);
            }
            return Ok(());
        };
        let key = key(room);
        for _ in 0..MAX_SWAP_ATTEMPTS {
            let Some(before) = archive.journal.get(&key).await? else { return Ok(()) };
            let mut list = DeletionList::decode(&before);
            if !list.withdraw(room) || archive.journal.swap(&key, Some(before), Some(list.encode())).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}

impl DeletionList {
    /// Adds a deletion, and drops those that are too old or too many.
    fn note(&mut self, room: u64, now: u64) {
        self.0.retain(|deletion| deletion.room != room && deletion.is_fresh(now));
        self.0.push_back(Deletion { room, at: now });
        while self.0.len() > MAX_DELETIONS_PER_LIST {
            self.0.pop_front();
        }
    }

    /// Drops the deletion of a room; returns whether there was one.
    fn withdraw(&mut self, room: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|deletion| deletion.room != room);
        self.0.len() < before
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
        DeletionList(bytes.chunks_exact(DELETION_BYTES).filter_map(deletion).collect())
    }
}

impl Deletion {
    fn is_fresh(self, now: u64) -> bool {
        now.saturating_sub(self.at) < DELETION_RETENTION_MS
    }
}

fn contended() -> StoreError {
    StoreError::new("other nodes kept changing the list of deleted rooms")
}

fn hash(room_id: &str) -> u64 {
    Sha256::digest(room_id).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn list_of(room: u64) -> u8 {
    u8::try_from(room % LIST_COUNT).unwrap_or(0)
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
        let mut deleted = DeletionList::default();
        deleted.note(7, 1_000);
        assert!(deleted.has(7, 1_000) && !deleted.has(8, 1_000));
        assert!(
            deleted.has(7, 1_000 + DELETION_RETENTION_MS - 1)
                && !deleted.has(7, 1_000 + DELETION_RETENTION_MS)
        );
        // As noted by a node whose clock is ahead.
        assert!(deleted.has(7, 0));
        deleted.note(7, 2_000);
        assert_eq!((deleted.0.len(), deleted.has(7, 1_000 + DELETION_RETENTION_MS)), (1, true));
        deleted.note(9, 2_000 + DELETION_RETENTION_MS);
        assert_eq!(deleted.0.len(), 1);
        assert!(
            !deleted.withdraw(7) && deleted.withdraw(9) && !deleted.has(9, 2_000 + DELETION_RETENTION_MS)
        );
    }

    #[test]
    fn the_newest_deletions_are_kept() {
        let mut deleted = DeletionList::default();
        (0..1_000).for_each(|room| deleted.note(room, room));
        assert_eq!(
            (deleted.0.len(), deleted.has(999, 999), deleted.has(999 - 256, 999)),
            (MAX_DELETIONS_PER_LIST, true, false)
        );
        assert!(deleted.encode().len() < 64 << 10);
    }

    #[test]
    fn a_list_survives_encoding() {
        let mut deleted = DeletionList::default();
        [u64::MAX, 0, 7].into_iter().for_each(|room| deleted.note(room, room));
        assert_eq!(DeletionList::decode(&deleted.encode()).0, deleted.0);
        assert_eq!(DeletionList::decode(b"what is in its place").0.len(), 1);
        assert!(DeletionList::decode(b"").0.is_empty());
    }
}
