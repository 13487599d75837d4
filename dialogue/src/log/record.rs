//! One accepted event.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;

/// An event as the log keeps it and everybody reads it.
#[derive(Debug)]
pub(crate) struct Record {
    /// Its number; ephemeral events have none.
    pub(crate) seq: Option<u64>,
    /// Which of the room's events it is.
    pub(crate) event: u8,
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    /// The key of a conflated event: a newer one with the same key takes its place.
    pub(crate) conflated: Option<Box<str>>,
    /// The whole `event` frame, encoded once.
    pub(crate) json: Bytes,
}

impl Record {
    /// What it counts for in a retention by bytes.
    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.json.len()).unwrap_or(u64::MAX)
    }
}

/// The id of an event or an epoch: 64 random bits as 11 characters of `[A-Za-z0-9_-]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id([u8; 11]);

impl Id {
    pub(crate) fn fresh() -> Self {
        let mut id = [b'A'; 11];
        // 8 bytes are 11 characters of base64, always.
        let written = URL_SAFE_NO_PAD.encode_slice(fastrand::u64(..).to_be_bytes(), &mut id);
        debug_assert_eq!(written, Ok(11));
        Id(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
