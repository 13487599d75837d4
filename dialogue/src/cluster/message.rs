//! The messages that nodes send each other beside the events of logs.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::node_request::{NodeRequest, NodeResponse};

/// A message between nodes, encoded as JSON. A node ignores the messages of newer versions that it doesn't know.
/// Variants keep the names that they have in the encoding.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "of")]
pub(super) enum NodeMessage {
    /// The sender has joined, and responds to requests from now on.
    #[serde(rename = "here")]
    Joined,
    /// The room was deleted.
    Deleted,
    /// The epoch of the room's log was overridden: the room starts again.
    #[serde(rename = "renamed")]
    EpochChanged,
    /// The room's record in the catalog has changed.
    #[serde(rename = "described")]
    InfoChanged,
    /// The room's saved state has changed.
    #[serde(rename = "saved")]
    StateSaved,
    /// A room was created; watchers of the list of rooms are to be notified.
    #[serde(rename = "created")]
    RoomCreated(Box<str>),
    /// A room was deleted; watchers of the list of rooms are to be notified.
    #[serde(rename = "gone")]
    RoomDeleted(Box<str>),
    /// A request, with its id.
    #[serde(rename = "ask")]
    Request(Box<str>, NodeRequest),
    /// A response, with the id of its request.
    #[serde(rename = "answer")]
    Response(Box<str>, NodeResponse),
}

/// A notice about a room: the nodes that have it read again what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomNotice {
    /// The room was deleted.
    Deleted,
    /// The epoch of the room's log was overridden: the room starts again.
    EpochChanged,
    /// The room's record in the catalog has changed.
    InfoChanged,
    /// The room's saved state has changed.
    StateSaved,
}

impl From<RoomNotice> for NodeMessage {
    fn from(notice: RoomNotice) -> Self {
        match notice {
            RoomNotice::Deleted => NodeMessage::Deleted,
            RoomNotice::EpochChanged => NodeMessage::EpochChanged,
            RoomNotice::InfoChanged => NodeMessage::InfoChanged,
            RoomNotice::StateSaved => NodeMessage::StateSaved,
        }
    }
}

impl NodeMessage {
    pub(super) fn encode(&self) -> Bytes {
        // Encoding text and numbers can't fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .inspect_err(|error| tracing::debug!(%error, "a message of another node can't be decoded"))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(message: &NodeMessage) -> String {
        String::from_utf8(message.encode().to_vec()).expect("JSON is text")
    }

    #[test]
    fn the_format_of_messages_between_nodes_does_not_change() {
        let id = || Box::from("1");
        let names = [
            (NodeMessage::Joined, r#"{"is":"here"}"#),
            (NodeMessage::Deleted, r#"{"is":"deleted"}"#),
            (NodeMessage::EpochChanged, r#"{"is":"renamed"}"#),
            (NodeMessage::InfoChanged, r#"{"is":"described"}"#),
            (NodeMessage::StateSaved, r#"{"is":"saved"}"#),
            (NodeMessage::RoomCreated("chat".into()), r#"{"is":"created","of":"chat"}"#),
            (NodeMessage::RoomDeleted("chat".into()), r#"{"is":"gone","of":"chat"}"#),
            (
                NodeMessage::Response(id(), NodeResponse::default()),
                r#"{"is":"answer","of":["1",{"count":0}]}"#,
            ),
        ];
        for (message, json) in names {
            assert_eq!(encoded(&message), json);
        }
    }

    #[test]
    fn the_format_of_requests_between_nodes_does_not_change() {
        let request = |request| encoded(&NodeMessage::Request("1".into(), request));
        let user = || Box::<str>::from("ann");
        let free = NodeRequest::FreePlaces { user: user(), room_id: "chat".into() };
        assert_eq!(request(free), r#"{"is":"ask","of":["1",{"free":{"user":"ann","roomId":"chat"}}]}"#);
        let remove = NodeRequest::RemoveMember { user: user(), room_id: None, reason: "spam".into() };
        assert_eq!(
            request(remove),
            r#"{"is":"ask","of":["1",{"putOut":{"user":"ann","roomId":null,"reason":"spam"}}]}"#
        );
        let list = NodeRequest::ListConnections { user: user() };
        assert_eq!(request(list), r#"{"is":"ask","of":["1",{"connections":{"user":"ann"}}]}"#);
        let send = NodeRequest::SendToUser {
            room_id: "chat".into(),
            user: user(),
            event: "message".into(),
            event_id: "e".into(),
            timestamp: 1,
            data: "{}".into(),
            from: "ben".into(),
            server: false,
            meta: None,
        };
        assert!(
            request(send).starts_with(r#"{"is":"ask","of":["1",{"whisper":{"roomId":"chat","user":"ann","#)
        );
    }
}
