//! The encoding of the disk store's rows and their keys. All rows are in one ordered keyspace, so that an append to
//! many rooms is one write.
//!
//! | row | key | value |
//! |---|---|---|
//! | metadata of a log | `l`, room id | [`LogMeta`] |
//! | event | `e`, log id, number | distance to the previous event with a key (4 bytes, 0: none), the event |
//! | key of a trimmed event | `k`, log id, number | [`StoredKey`] |
//! | removed log whose events are being deleted | `x`, log id | its first and last number |
//! | end of the reserved log ids | `n` | 8 bytes |
//! | record | `r`, its key | its value |
//!
//! Integers are big endian, so that keys sort by log and number. A log id is never reused: the next log of a room finds
//! nothing of a removed one.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use dialogue_core::{
    store::{StoreError, StoredEvent, StoredKey},
    wire::Id,
};

/// The metadata of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogMeta {
    pub(super) id: u64,
    pub(super) epoch: Arc<str>,
    /// The number of the oldest event in the log.
    pub(super) first: u64,
    /// The number of the first event whose key is kept; older keys have expired.
    pub(super) first_key: u64,
    /// The number of the newest event; not part of the row.
    pub(super) last: u64,
    /// The number of the newest event with a key, or 0; not part of the row.
    pub(super) last_keyed: u64,
}

/// A removed log, with the first and last number of its events that are still to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RemovedLog {
    pub(super) id: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

pub(super) const COUNTER: &[u8] = b"n";
pub(super) const REMOVED: &[u8] = b"x";

/// The row key of an event or of its idempotency key; short enough for the engine to store it inline.
pub(super) type EventKey = [u8; 17];

pub(super) fn log(room_id: &str) -> Vec<u8> {
    [b"l", room_id.as_bytes()].concat()
}

pub(super) fn record(key: &str) -> Vec<u8> {
    [b"r", key.as_bytes()].concat()
}

pub(super) fn event(log: u64, seq: u64) -> EventKey {
    row_key(b'e', log, seq)
}

pub(super) fn key(log: u64, seq: u64) -> EventKey {
    row_key(b'k', log, seq)
}

pub(super) fn removed(log: u64) -> Vec<u8> {
    [REMOVED, &log.to_be_bytes()].concat()
}

fn row_key(kind: u8, log: u64, seq: u64) -> EventKey {
    let mut row_key = [kind; 17];
    let mut rest = row_key.get_mut(1..).unwrap_or_default();
    rest.put_u64(log);
    rest.put_u64(seq);
    row_key
}

/// Returns the event number of a row key.
pub(super) fn seq(mut row_key: &[u8]) -> Result<u64, StoreError> {
    row_key
        .try_get_u8()
        .and_then(|_| row_key.try_get_u64())
        .and_then(|_| row_key.try_get_u64())
        .map_err(damaged)
}

impl LogMeta {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(24 + self.epoch.len());
        row.put_u64(self.id);
        row.put_u64(self.first);
        row.put_u64(self.first_key);
        row.put_slice(self.epoch.as_bytes());
        row
    }

    /// Decodes a row; the caller sets `last` and `last_keyed`.
    pub(super) fn decode(mut row: &[u8]) -> Result<Self, StoreError> {
        let mut number = || row.try_get_u64().map_err(damaged);
        let (id, first, first_key) = (number()?, number()?, number()?);
        let epoch = std::str::from_utf8(row).map_err(damaged)?.into();
        Ok(LogMeta { id, epoch, first, first_key, last: 0, last_keyed: 0 })
    }

    /// Returns the row of an event that is appended to this log.
    pub(super) fn row(&self, event: &StoredEvent) -> Vec<u8> {
        let mut row = Vec::with_capacity(event.data.len() + event.from.len() + 132);
        let back = if self.last_keyed == 0 { 0 } else { event.seq.saturating_sub(self.last_keyed) };
        row.put_u32(u32::try_from(back).unwrap_or(0));
        event.encode_into(&mut row);
        row
    }

    /// Updates the metadata for an appended event.
    pub(super) fn push(&mut self, event: &StoredEvent) {
        self.last = event.seq;
        if event.key.is_some() {
            self.last_keyed = event.seq;
        }
    }
}

/// Decodes the row of an event; returns the event, and the number of the previous event with a key or 0.
pub(super) fn read_event(mut row: &[u8]) -> Result<(StoredEvent, u64), StoreError> {
    let back = row.try_get_u32().map_err(damaged)?;
    let event = StoredEvent::decode(Bytes::copy_from_slice(row)).map_err(damaged)?;
    let last_keyed = if back == 0 { 0 } else { event.seq.saturating_sub(back.into()) };
    Ok((event, last_keyed))
}

impl RemovedLog {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.first.to_be_bytes(), self.last.to_be_bytes()].concat()
    }

    pub(super) fn decode(mut key: &[u8], mut row: &[u8]) -> Result<Self, StoreError> {
        let id = key.try_get_u8().and_then(|_| key.try_get_u64()).map_err(damaged)?;
        Ok(RemovedLog {
            id,
            first: row.try_get_u64().map_err(damaged)?,
            last: row.try_get_u64().map_err(damaged)?,
        })
    }
}

pub(super) fn write_key(key: &StoredKey) -> Vec<u8> {
    let mut row = Vec::with_capacity(23 + key.from.len() + key.key.len());
    row.put_u64(key.timestamp);
    row.put_slice(key.event_id.as_str().as_bytes());
    // A user's id is not as long as 4 GiB.
    row.put_u32(u32::try_from(key.from.len()).unwrap_or(u32::MAX));
    row.put_slice(key.from.as_bytes());
    row.put_slice(key.key.as_bytes());
    row
}

pub(super) fn read_key(row_key: &[u8], mut row: &[u8]) -> Result<StoredKey, StoreError> {
    let timestamp = row.try_get_u64().map_err(damaged)?;
    let event_id = text(&mut row, 11).and_then(|id| Id::parse(id).ok_or_else(malformed_row))?;
    let from = usize::try_from(row.try_get_u32().map_err(damaged)?).map_err(damaged)?;
    let from = text(&mut row, from)?.into();
    let rest = row.len();
    Ok(StoredKey::new(from, text(&mut row, rest)?.into(), seq(row_key)?, event_id, timestamp))
}

fn text<'a>(row: &mut &'a [u8], len: usize) -> Result<&'a str, StoreError> {
    let (text, rest) = row.split_at_checked(len).ok_or_else(malformed_row)?;
    *row = rest;
    std::str::from_utf8(text).map_err(damaged)
}

/// Returns the error for a row that can't be decoded.
pub(super) fn damaged(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    malformed_row().with_source(cause)
}

fn malformed_row() -> StoreError {
    StoreError::new(
        "a row of the store is damaged, or written by a newer version: restore a backup of its directory",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_metadata_of_a_log_decodes_to_itself(id: u64, first: u64, first_key: u64, epoch in ".{0,40}") {
            let log = LogMeta { id, epoch: epoch.into(), first, first_key, last: 0, last_keyed: 0 };
            prop_assert_eq!(LogMeta::decode(&log.encode()).ok(), Some(log));
        }

        #[test]
        fn a_key_decodes_to_itself(from in ".{0,40}", key in ".{0,40}", seq: u64, timestamp: u64) {
            let key = StoredKey::new(from.into(), key.into(), seq, Id::fresh(), timestamp);
            prop_assert_eq!(read_key(&super::key(7, seq), &write_key(&key)).ok(), Some(key));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let _ = (LogMeta::decode(&bytes), read_key(&bytes, &bytes), read_event(&bytes), RemovedLog::decode(&bytes, &bytes));
        }

        #[test]
        fn row_keys_sort_by_log_and_number(a: (u64, u64), b: (u64, u64)) {
            prop_assert_eq!(event(a.0, a.1).cmp(&event(b.0, b.1)), a.cmp(&b));
        }
    }

    #[test]
    fn a_removed_log_decodes_to_itself() {
        let log = RemovedLog { id: 7, first: 3, last: 9 };
        assert_eq!(RemovedLog::decode(&removed(7), &log.encode()).ok(), Some(log));
    }
}
