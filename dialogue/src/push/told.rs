//! What is known of an event that is pushed; kept where the store outlives the process.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::dispatch::UNIT;
use crate::Accepted;

/// See the [module](self).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// In keys of the store; in the order in which events were said.
    #[serde(skip)]
    pub(super) id: String,
    pub(super) room_id: String,
    pub(super) event: String,
    /// The payload as JSON.
    pub(super) data: String,
    pub(super) from: String,
    /// Before it is: what it is to be called, and the time.
    pub(super) accepted: Accepted,
    /// It was about to be put into its room; whether it is there, the room's log tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) offered: bool,
    /// By provider: the key in the store of the last device that is done with.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub(super) done: HashMap<String, String>,
    /// The epoch of the room's log, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<String>,
}

impl Told {
    /// The memory that it takes, in [`UNIT`]s.
    pub(super) fn units(&self) -> usize {
        self.data.len() / UNIT + 1
    }
}
