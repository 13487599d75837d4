//! The frames of a server, as far as a client of the simulation reads them.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::application::ROOMS;

/// A frame.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    pub(super) id: Option<u64>,
    #[serde(borrow)]
    pub(super) room_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) epoch: Option<Cow<'a, str>>,
    pub(super) seq: Option<u64>,
    #[serde(borrow)]
    pub(super) event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) resume: Option<Cow<'a, str>>,
    pub(super) replay: Option<u64>,
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) duplicate: bool,
    #[serde(borrow)]
    pub(super) from: Option<Cow<'a, str>>,
    /// The members of a room.
    #[serde(borrow, default)]
    pub(super) members: Members<'a>,
    #[serde(borrow)]
    pub(super) user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) change: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    /// The frame as it came.
    #[serde(skip)]
    pub(super) json: &'a str,
}

#[derive(Debug, Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

/// The field `members`: of `joined`, their number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Members<'a> {
    #[serde(borrow)]
    List(Vec<Member<'a>>),
    Number(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Member<'a> {
    #[serde(borrow)]
    pub(super) user_id: Cow<'a, str>,
}

impl Default for Members<'_> {
    fn default() -> Self {
        Members::Number(IgnoredAny)
    }
}

/// The place of a client in the log of a room.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) seq: u64,
    pub(super) event_id: String,
}

impl<'a> Frame<'a> {
    pub(super) fn parse(json: &'a str) -> Self {
        let frame = serde_json::from_str(json).expect("JSON");
        Frame { json, ..frame }
    }

    pub(super) fn room(&self) -> Option<&'static str> {
        ROOMS.into_iter().find(|room| self.room_id.as_deref() == Some(room))
    }

    pub(super) fn event_id(&self) -> &str {
        self.event_id.as_deref().unwrap_or_default()
    }

    /// Returns the text of a message.
    pub(super) fn text(&self) -> &str {
        self.data.as_ref().and_then(|data| data.text.as_deref()).unwrap_or_default()
    }

    /// Returns the position that the frame names.
    pub(super) fn position(&self) -> Position {
        Position {
            epoch: self.epoch.as_deref().unwrap_or_default().to_owned(),
            seq: self.seq.unwrap_or_default(),
            event_id: self.event_id().to_owned(),
        }
    }
}
