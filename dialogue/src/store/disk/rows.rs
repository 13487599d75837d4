//! The rows of a store, and their keys: one ordered space, so that a batch over all rooms is one write.
//!
//! | row | key | value |
//! |---|---|---|
//! | what is known of a log | `l`, room id | [`Log`] |
//! | an event | `e`, log, number | how far back the event with a key before it is (4 bytes, 0: none), the event |
//! | the key of an event that was trimmed | `k`, log, number | [`StoredKey`] |
//! | a log that was removed, and whose events go | `x`, log | its first and last number |
//! | numbers of logs that were given | `n` | 8 bytes |
//! | a record | `r`, its key | its value |
//!
//! A log is named by a number that is used once, so that nothing of a removed log is found in the next one of its room.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use super::super::{StoreError, StoredEvent, StoredKey};
use crate::wire::Id;

/// What is known of a log without reading it, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) id: u64,
    pub(super) epoch: Arc<str>,
    /// The number of the oldest event held.
    pub(super) first: u64,
    /// The number from which on keys are told of; those of older events were dropped.
    pub(super) keys: u64,
    /// The number of the newest event. It isn't part of the row.
    pub(super) last: u64,
    /// The number of the newest event with a key, or 0. Nor is this.
    pub(super) keyed: u64,
}

/// A log that was removed: its events between these numbers are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) id: u64,
    pub(super) first: u64,
    pub(super) last: u64,
}

pub(super) const COUNTER: &[u8] = b"n";
pub(super) const DOOMED: &[u8] = b"x";

/// The key of an event or of its key: short enough for the engine to hold without an allocation.
pub(super) type Place = [u8; 17];

pub(super) fn log(room_id: &str) -> Vec<u8> {
    [b"l", room_id.as_bytes()].concat()
}

pub(super) fn record(key: &str) -> Vec<u8> {
    [b"r", key.as_bytes()].concat()
}

pub(super) fn event(log: u64, seq: u64) -> Place {
    place(b'e', log, seq)
}

pub(super) fn key(log: u64, seq: u64) -> Place {
    place(b'k', log, seq)
}

pub(super) fn doomed(log: u64) -> Vec<u8> {
    [DOOMED, &log.to_be_bytes()].concat()
}

fn place(kind: u8, log: u64, seq: u64) -> Place {
    let mut place = [kind; 17];
    let mut rest = place.get_mut(1..).unwrap_or_default();
    rest.put_u64(log);
    rest.put_u64(seq);
    place
}

/// The number in the key of an event or of its key.
pub(super) fn seq(mut place: &[u8]) -> Result<u64, StoreError> {
    place.try_get_u8().and_then(|_| place.try_get_u64()).and_then(|_| place.try_get_u64()).map_err(damaged)
}

impl Log {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(24 + self.epoch.len());
        row.put_u64(self.id);
        row.put_u64(self.first);
        row.put_u64(self.keys);
        row.put_slice(self.epoch.as_bytes());
        row
    }

    /// Reads the row, to which `last` and `keyed` are to be added.
    pub(super) fn decode(mut row: &[u8]) -> Result<Self, StoreError> {
        let mut number = || row.try_get_u64().map_err(damaged);
        let (id, first, keys) = (number()?, number()?, number()?);
        let epoch = std::str::from_utf8(row).map_err(damaged)?.into();
        Ok(Log { id, epoch, first, keys, last: 0, keyed: 0 })
    }

    /// The row of an event that comes after this log's newest.
    pub(super) fn row(&self, event: &StoredEvent) -> Vec<u8> {
        let mut row = Vec::with_capacity(event.data.len() + event.from.len() + 132);
        let back = if self.keyed == 0 { 0 } else { event.seq.saturating_sub(self.keyed) };
        row.put_u32(u32::try_from(back).unwrap_or(0));
        event.encode_into(&mut row);
        row
    }

    /// Counts an event in that came after the newest.
    pub(super) fn push(&mut self, event: &StoredEvent) {
        self.last = event.seq;
        if event.key.is_some() {
            self.keyed = event.seq;
        }
    }
}

/// The event of a row, and the number of the event with a key before it, or 0.
pub(super) fn read_event(mut row: &[u8]) -> Result<(StoredEvent, u64), StoreError> {
    let back = row.try_get_u32().map_err(damaged)?;
    let event = StoredEvent::decode(Bytes::copy_from_slice(row)).map_err(damaged)?;
    let keyed = if back == 0 { 0 } else { event.seq.saturating_sub(back.into()) };
    Ok((event, keyed))
}

impl Doomed {
    pub(super) fn encode(self) -> Vec<u8> {
        [self.first.to_be_bytes(), self.last.to_be_bytes()].concat()
    }

    pub(super) fn decode(mut key: &[u8], mut row: &[u8]) -> Result<Self, StoreError> {
        let id = key.try_get_u8().and_then(|_| key.try_get_u64()).map_err(damaged)?;
        Ok(Doomed {
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

pub(super) fn read_key(place: &[u8], mut row: &[u8]) -> Result<StoredKey, StoreError> {
    let timestamp = row.try_get_u64().map_err(damaged)?;
    let event_id = text(&mut row, 11).and_then(|id| Id::parse(id).ok_or_else(garbled))?;
    let from = usize::try_from(row.try_get_u32().map_err(damaged)?).map_err(damaged)?;
    let from = text(&mut row, from)?.into();
    let rest = row.len();
    Ok(StoredKey { from, key: text(&mut row, rest)?.into(), seq: seq(place)?, event_id, timestamp })
}

fn text<'a>(row: &mut &'a [u8], len: usize) -> Result<&'a str, StoreError> {
    let (text, rest) = row.split_at_checked(len).ok_or_else(garbled)?;
    *row = rest;
    std::str::from_utf8(text).map_err(damaged)
}

/// What was written isn't what is there.
pub(super) fn damaged(cause: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    garbled().source(cause)
}

fn garbled() -> StoreError {
    StoreError::new("a row of the store is damaged, or of a newer version: put back a copy of its directory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_known_of_a_log_is_read_again(id: u64, first: u64, keys: u64, epoch in ".{0,40}") {
            let log = Log { id, epoch: epoch.into(), first, keys, last: 0, keyed: 0 };
            prop_assert_eq!(Log::decode(&log.encode()).ok(), Some(log));
        }

        #[test]
        fn a_key_is_read_again(from in ".{0,40}", key in ".{0,40}", seq: u64, timestamp: u64) {
            let key = StoredKey { from: from.into(), key: key.into(), seq, event_id: Id::fresh(), timestamp };
            prop_assert_eq!(read_key(&super::key(7, seq), &write_key(&key)).ok(), Some(key));
        }

        #[test]
        fn other_bytes_are_refused(bytes: Vec<u8>) {
            let _ = (Log::decode(&bytes), read_key(&bytes, &bytes), read_event(&bytes), Doomed::decode(&bytes, &bytes));
        }

        #[test]
        fn rows_stand_in_the_order_of_logs_and_numbers(a: (u64, u64), b: (u64, u64)) {
            prop_assert_eq!(event(a.0, a.1).cmp(&event(b.0, b.1)), a.cmp(&b));
        }
    }

    #[test]
    fn a_removed_log_is_read_again() {
        let gone = Doomed { id: 7, first: 3, last: 9 };
        assert_eq!(Doomed::decode(&doomed(7), &gone.encode()).ok(), Some(gone));
    }
}
