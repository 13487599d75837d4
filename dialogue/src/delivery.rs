//! An event as it arrives.

use serde::{Deserialize, Serialize};

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
