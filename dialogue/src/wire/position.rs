//! Where a reader stands in a room's log.

use serde::{Deserialize, Serialize};

/// A place in a room's log: right after the event it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The log's incarnation; another one has other events.
    pub epoch: String,
    /// The number of the last event seen; 0 before the first.
    pub seq: u64,
    /// Its id; empty where unknown, and then not checked.
    #[serde(default)]
    pub event_id: String,
}

/// Bytes of an epoch and of an event's id.
#[cfg(feature = "server")]
const LONGEST: usize = 64;

#[cfg(feature = "server")]
impl Position {
    /// Returns whether both texts are such as servers make: 0 to 64 of `[A-Za-z0-9_-]`, so that a position can stand in an `id:`
    /// line.
    pub(crate) fn is_well_formed(&self) -> bool {
        let plain = |text: &str| {
            text.len() <= LONGEST
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        plain(&self.epoch) && plain(&self.event_id)
    }
}

/// That a room's log took an event, at the durability that the application chose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Accepted {
    /// Its number; ephemeral events have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its id.
    pub event_id: String,
    /// When: Unix milliseconds by the server's clock.
    pub timestamp: u64,
    /// It had been accepted before, under the same key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}
