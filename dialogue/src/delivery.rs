//! An event as it arrives.

use std::fmt;

use serde::{Deserialize, Serialize};
#[cfg(any(feature = "server", feature = "client"))]
use serde_json::value::RawValue;

/// An event that a room delivered, with what the server says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery<E> {
    /// The event.
    #[serde(rename = "data")]
    pub event: E,
    /// The room's id.
    pub room_id: String,
    /// The user that sent it; `system` for server code.
    pub from: String,
    /// Unix milliseconds by the server's clock; orders nothing.
    pub timestamp: u64,
    /// Its id.
    pub event_id: String,
    /// Its number in the room's log; ephemeral events have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Whether the server triggered it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server: bool,
    /// What the sender put beside it: a JSON value of at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
}

/// An event that can't be read as its type: one from before the type changed, or from a server of another version. It holds
/// what can be read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The room's id.
    pub room_id: String,
    /// The event's name on the wire.
    pub event: String,
    /// The user that sent it.
    pub from: String,
    /// Its id.
    pub event_id: String,
    /// Its number in the room's log; ephemeral events have none.
    pub seq: Option<u64>,
    /// The reason, for people.
    pub why: String,
}

#[cfg(any(feature = "server", feature = "client"))]
impl Unreadable {
    /// Reads as much of an `event` frame as can be read; the rest is empty.
    pub(crate) fn of(frame: &str, why: &serde_json::Error) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Parts<'a> {
            #[serde(borrow)]
            room_id: Option<&'a RawValue>,
            event: Option<&'a RawValue>,
            from: Option<&'a RawValue>,
            event_id: Option<&'a RawValue>,
            seq: Option<&'a RawValue>,
        }

        fn read<T: serde::de::DeserializeOwned>(part: Option<&RawValue>) -> Option<T> {
            serde_json::from_str(part?.get()).ok()
        }

        let parts: Parts<'_> = serde_json::from_str(frame).unwrap_or_default();
        Unreadable {
            room_id: read(parts.room_id).unwrap_or_default(),
            event: read(parts.event).unwrap_or_default(),
            from: read(parts.from).unwrap_or_default(),
            event_id: read(parts.event_id).unwrap_or_default(),
            seq: read(parts.seq),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event `{}` can't be read as declared: {}", self.event, self.why)
    }
}

impl std::error::Error for Unreadable {}
