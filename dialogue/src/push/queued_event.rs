//! An event on its way to devices, in the form that is stored in `push/pending/…/0` where the store outlives the
//! process.

use serde::{Deserialize, Serialize};

use super::memory::UNIT_BYTES;
use crate::{collections::HashMap, wire::Accepted};

/// An event that is being pushed, and how far its fan-out is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueuedEvent {
    /// The fan-out's id in the store's keys: the time in milliseconds and the event's id, so that it sorts by time.
    #[serde(skip)]
    pub(super) id: String,
    pub(super) room_id: String,
    /// The event's name on the wire.
    #[serde(rename = "event")]
    pub(super) event_name: String,
    /// The payload as JSON.
    pub(super) data: String,
    /// The id of the user that sent it.
    pub(super) from: String,
    /// The event's id and time; while [`is_unconfirmed`](Self::is_unconfirmed), those that it is to get.
    pub(super) accepted: Accepted,
    /// Set if the record was written before the event was appended to its room's log. If so, the log decides whether
    /// the event was accepted.
    #[serde(rename = "offered", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_unconfirmed: bool,
    /// By provider: the key in the store of the last device that needs no first attempt any more.
    #[serde(rename = "done", default, skip_serializing_if = "HashMap::is_empty")]
    pub(super) progress: HashMap<String, String>,
    /// The epoch of the room's log, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<String>,
}

impl QueuedEvent {
    /// Returns the memory that it takes, in [units](UNIT_BYTES).
    pub(super) fn units(&self) -> usize {
        self.data.len() / UNIT_BYTES + 1
    }
}
