//! Deliveries: events as readers of a room receive them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An event as a room delivered it, with the server's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Delivery<E> {
    /// The event.
    #[serde(rename = "data")]
    pub event: E,
    /// The id of the room instance.
    pub room_id: String,
    /// The id of the user that sent the event; `system` for server code.
    pub from: String,
    /// The server's time when it accepted the event, in Unix milliseconds. Clocks may jump: order events by `seq`.
    pub timestamp: u64,
    /// The id of the event.
    pub event_id: String,
    /// The number of the event in the log of the room; `None` for ephemeral events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// True if server code triggered the event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server: bool,
    /// The JSON value that the sender attached, of at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
}

/// An event that can't be decoded as its declared type: it is older than a change of the type, or comes from a server
/// of another version. The fields hold the parts that can be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The id of the room instance.
    pub room_id: String,
    /// The event's name on the wire.
    pub event: String,
    /// The id of the user that sent the event.
    pub from: String,
    /// The id of the event.
    pub event_id: String,
    /// The number of the event in the log of the room; `None` for ephemeral events.
    pub seq: Option<u64>,
    /// The decoding error, for people.
    pub why: String,
}

#[cfg(any(feature = "server", feature = "client"))]
impl Unreadable {
    /// Decodes as many fields of an `event` frame as possible; the others are empty.
    pub(crate) fn of(frame: &str, why: &serde_json::Error) -> Self {
        use serde_json::value::RawValue;

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
