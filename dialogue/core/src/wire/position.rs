//! Positions of readers in a room's log.

use serde::{Deserialize, Serialize};

/// A position in a room's log: directly after the event that it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The epoch of the log. An epoch names one unbroken history: positions of different epochs can't be compared.
    pub epoch: String,
    /// The number of the last event before the position; 0 before the first event.
    pub seq: u64,
    /// The id of that event; empty if it is unknown, and then not checked.
    #[serde(default)]
    pub event_id: String,
}

/// The maximum of bytes of an epoch and of an event's id in a position.
const MAX_ID_BYTES: usize = 64;

impl Position {
    /// Returns whether both texts consist of 0 to 64 characters of `[A-Za-z0-9_-]`, as those of a server do. Such a
    /// position fits into an `id:` line.
    pub fn is_well_formed(&self) -> bool {
        let plain = |text: &str| {
            text.len() <= MAX_ID_BYTES
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        plain(&self.epoch) && plain(&self.event_id)
    }
}

/// The acknowledgement that a room's log has accepted an event, at the durability of the configured store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Accepted {
    /// The number of the event in the log; `None` for ephemeral events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The id of the event.
    pub event_id: String,
    /// The server's time when it accepted the event, in Unix milliseconds.
    pub timestamp: u64,
    /// True if the event was accepted before, under the same idempotency key; the other fields are then those of that
    /// event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

impl Accepted {
    /// Creates the answer to an event that was accepted for the first time.
    pub fn new(seq: Option<u64>, event_id: impl Into<String>, timestamp: u64) -> Self {
        Accepted { seq, event_id: event_id.into(), timestamp, duplicate: false }
    }

    /// Returns the answer to a repetition of the event.
    #[must_use]
    pub fn to_duplicate(&self) -> Self {
        Accepted { duplicate: true, ..self.clone() }
    }
}
