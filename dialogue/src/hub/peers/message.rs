//! What peers tell each other that is in no log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Question};

/// As JSON. An older version doesn't know some of what a newer one says, and passes it over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "of")]
pub(in crate::hub) enum Message {
    /// This instance has just come, and answers from now on.
    Here,
    /// The room was deleted.
    Deleted,
    /// What is known of the room is another, or what its log is called: it begins again.
    Renamed,
    /// Something else is known of the room than before.
    Described,
    /// The room's own state is another.
    Saved,
    /// Those who watch are to be told of a room.
    Created(Box<str>),
    Gone(Box<str>),
    /// Something is to be done, and answered.
    Ask(Box<str>, Question),
    /// What was asked for was done.
    Answer(Box<str>, Answer),
}

impl Message {
    pub(super) fn encode(&self) -> Bytes {
        // All of it is text and numbers.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .inspect_err(|error| tracing::debug!(%error, "a peer says something that isn't known"))
            .ok()
    }
}
