//! The requests between nodes, and their responses.

use std::{pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};

/// A request to a node. Variants keep the names that they have in messages between nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum NodeRequest {
    /// Deliver an event to a user's connections in a room.
    #[serde(rename = "whisper", rename_all = "camelCase")]
    SendToUser {
        room_id: Box<str>,
        user: Box<str>,
        event: Box<str>,
        event_id: Box<str>,
        timestamp: u64,
        /// The payload as JSON.
        data: String,
        from: Box<str>,
        server: bool,
        meta: Option<Box<str>>,
    },
    /// Remove a user's connections from a room, or from all.
    #[serde(rename = "putOut", rename_all = "camelCase")]
    RemoveMember { user: Box<str>, room_id: Option<Box<str>>, reason: String },
    /// Close a user's connections, or one of them.
    #[serde(rename_all = "camelCase")]
    Disconnect { user: Box<str>, client_id: Option<Box<str>>, reason: String },
    /// Free the places in a full room that unresponsive connections of a user hold.
    #[serde(rename = "free", rename_all = "camelCase")]
    FreePlaces { user: Box<str>, room_id: Box<str> },
    /// List a user's connections.
    #[serde(rename = "connections")]
    ListConnections { user: Box<str> },
}

/// The result of a request at a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeResponse {
    /// The number of connections affected.
    pub(crate) count: usize,
    /// The connections, if they were to be listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) connections: Vec<RemoteConnection>,
}

/// A connection at another node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RemoteConnection {
    pub(crate) client_id: String,
    pub(crate) rooms: Vec<String>,
}

/// The handler of requests from other nodes.
pub(crate) trait NodeRequestHandler: Send + Sync {
    /// Handles a request, in a bounded time.
    fn handle(self: Arc<Self>, request: NodeRequest) -> Pin<Box<dyn Future<Output = NodeResponse> + Send>>;

    /// Announces to this node's watchers of the list of rooms that another node created or deleted a room.
    fn room_changed(
        self: Arc<Self>,
        room_id: &str,
        created: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
