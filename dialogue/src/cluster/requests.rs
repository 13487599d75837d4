//! Requests between nodes: an operation on a user's connections is sent to all nodes, and each responds with its
//! result.
//!
//! A request is broadcast in the feed of a room, with an id; the responses carry the same id. The caller waits for the
//! nodes that are reachable, and fails if one of them doesn't respond in time.

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout},
};

use super::{Cluster, NodeMessage, RoomNotice, SERVER_ROOM, SharedRooms};
use crate::{store::StoreError, wire::Id};

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

/// Requests that wait for responses, and limits on those that are being served.
pub(super) struct PendingRequests {
    awaiting: Mutex<HashMap<Box<str>, ResponseSender>>,
    serving: Arc<Semaphore>,
    /// Nodes that joined recently and may not be in the backplane's list yet.
    joined: Mutex<HashMap<Id, Instant>>,
    /// Nodes that published members and aren't in the backplane's list, which may be a moment old. They may also have
    /// left: no request waits for their responses.
    unlisted: Mutex<HashMap<Id, Instant>>,
}

/// The receiver of the responses to a request, each with its node.
type ResponseSender = mpsc::Sender<(Id, NodeResponse)>;

/// The timeout of a request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of a request for which the other nodes wait for clients themselves.
const FREE_PLACES_TIMEOUT: Duration = Duration::from_secs(4);
/// The interval at which a waiting request drops the nodes that have left.
const NODE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Responses queued for a request.
const MAX_QUEUED_RESPONSES: usize = 1_024;
/// The time for which a node counts as recently joined or unlisted.
const RECENT_NODE_AGE: Duration = Duration::from_secs(5);
/// Requests of other nodes served at the same time; more are dropped.
const MAX_CONCURRENT_REQUESTS: usize = 256;

impl Cluster {
    /// Sets the handler of requests from other nodes.
    pub(crate) fn handle_requests_with(&self, handler: Weak<dyn NodeRequestHandler>) {
        // There is one engine, which sets it once.
        let _ = self.handler.set(handler);
    }

    /// Sends a request to all other nodes and returns their responses.
    ///
    /// # Errors
    ///
    /// The request can't be sent, or a node doesn't respond in time.
    pub(crate) async fn request_all(&self, request: NodeRequest) -> Result<Vec<NodeResponse>, StoreError> {
        let others = self.reachable().into_iter().filter(|node| *node != self.id).collect();
        self.request(SERVER_ROOM, request, others).await
    }

    /// Sends a request to the nodes that follow a room, and waits for the responses of `nodes`.
    ///
    /// # Errors
    ///
    /// The request can't be sent, or one of `nodes` doesn't respond within 2 s (4 s for [`NodeRequest::FreePlaces`]).
    pub(crate) async fn request(
        &self,
        room_id: &str,
        request: NodeRequest,
        mut nodes: BTreeSet<Id>,
    ) -> Result<Vec<NodeResponse>, StoreError> {
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let response_timeout = if matches!(request, NodeRequest::FreePlaces { .. }) {
            FREE_PLACES_TIMEOUT
        } else {
            RESPONSE_TIMEOUT
        };
        let (sender, mut responses) = mpsc::channel(MAX_QUEUED_RESPONSES);
        let pending = PendingRequest { requests: &self.requests, id: Id::fresh() };
        self.requests.awaiting.lock().insert(pending.id.as_str().into(), sender);
        self.send(room_id, &NodeMessage::Request(pending.id.as_str().into(), request)).await?;
        let (mut received, deadline) = (Vec::new(), Instant::now() + response_timeout);
        while !nodes.is_empty() {
            if Instant::now() >= deadline {
                return Err(StoreError::new(format!("{} nodes did not respond in time", nodes.len())));
            }
            match timeout(NODE_CHECK_INTERVAL, responses.recv()).await {
                Ok(Some((node, response))) if nodes.remove(&node) => received.push(response),
                Ok(_) => {}
                Err(_) => {
                    let reachable = self.reachable();
                    nodes.retain(|node| reachable.contains(node));
                }
            }
        }
        Ok(received)
    }

    /// Handles a message of another node.
    pub(super) fn handle_message(
        self: &Arc<Self>,
        rooms: &dyn SharedRooms,
        room_id: &Arc<str>,
        node: Id,
        message: NodeMessage,
    ) {
        match message {
            NodeMessage::Request(id, request) => self.serve_request(Arc::clone(room_id), id, request),
            NodeMessage::Response(id, response) => {
                let sender = self.requests.awaiting.lock().get(&id).cloned();
                // The caller may have dropped its future, or have more responses than there are nodes.
                let _ = sender.map(|sender| sender.try_send((node, response)));
            }
            NodeMessage::RoomCreated(room) => self.announce(room, true),
            NodeMessage::RoomDeleted(room) => self.announce(room, false),
            NodeMessage::Joined => note_recent(&self.requests.joined, node),
            NodeMessage::Deleted => rooms.receive_notice(room_id, RoomNotice::Deleted),
            NodeMessage::EpochChanged => rooms.receive_notice(room_id, RoomNotice::EpochChanged),
            NodeMessage::InfoChanged => rooms.receive_notice(room_id, RoomNotice::InfoChanged),
            NodeMessage::StateSaved => rooms.receive_notice(room_id, RoomNotice::StateSaved),
        }
    }

    /// Notes a node that published members although the last list of nodes doesn't have it.
    pub(super) fn note_unlisted_node(&self, node: Id) {
        note_recent(&self.requests.unlisted, node);
    }

    /// Returns the nodes that respond to requests: the listed ones, and those that joined after the last list.
    fn reachable(&self) -> BTreeSet<Id> {
        self.nodes().iter().copied().chain(recent(&self.requests.joined)).collect()
    }

    /// Returns the nodes whose members count: [reachable](Self::reachable) ones, and those that published members
    /// recently.
    pub(crate) fn counted(&self) -> BTreeSet<Id> {
        self.reachable().into_iter().chain(recent(&self.requests.unlisted)).collect()
    }

    fn handler(&self) -> Option<Arc<dyn NodeRequestHandler>> {
        self.handler.get().and_then(Weak::upgrade)
    }

    fn serve_request(self: &Arc<Self>, room_id: Arc<str>, id: Box<str>, request: NodeRequest) {
        let handler = self.handler();
        let Ok(permit) = Arc::clone(&self.requests.serving).try_acquire_owned() else {
            return tracing::debug!("too many requests of other nodes at once: one is dropped");
        };
        let cluster = Arc::clone(self);
        // The task ends with the handler and the sending of its response, both bounded.
        self.runtime.spawn(async move {
            let response = match handler {
                Some(handler) => handler.handle(request).await,
                // The node is starting or shutting down: it has no connections.
                None => NodeResponse::default(),
            };
            if let Err(error) = cluster.send(&room_id, &NodeMessage::Response(id, response)).await {
                tracing::debug!(%error, "a response can't be sent to another node");
            }
            drop(permit);
        });
    }

    fn announce(&self, room: Box<str>, created: bool) {
        if let Some(handler) = self.handler() {
            // The task ends with a read of the store.
            self.runtime.spawn(async move { handler.room_changed(&room, created).await });
        }
    }

    /// Announces to the watchers at other nodes that a room was created or deleted.
    pub(crate) fn announce_room(self: &Arc<Self>, room_id: &str, created: bool) {
        let message = if created { NodeMessage::RoomCreated } else { NodeMessage::RoomDeleted };
        self.send_best_effort(&SERVER_ROOM.into(), message(room_id.into()));
    }
}

/// Notes a recently seen node, up to a bounded number of them.
fn note_recent(nodes: &Mutex<HashMap<Id, Instant>>, node: Id) {
    let mut nodes = nodes.lock();
    nodes.retain(|_, noted| noted.elapsed() < RECENT_NODE_AGE);
    if nodes.len() < MAX_CONCURRENT_REQUESTS {
        nodes.insert(node, Instant::now());
    }
}

/// Returns the nodes that were noted recently.
fn recent(nodes: &Mutex<HashMap<Id, Instant>>) -> Vec<Id> {
    let nodes = nodes.lock();
    nodes.iter().filter(|(_, noted)| noted.elapsed() < RECENT_NODE_AGE).map(|(node, _)| *node).collect()
}

/// Removes a request from those that wait when it is dropped.
struct PendingRequest<'a> {
    requests: &'a PendingRequests,
    id: Id,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.requests.awaiting.lock().remove(self.id.as_str());
    }
}

impl Default for PendingRequests {
    fn default() -> Self {
        let serving = Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS));
        PendingRequests {
            awaiting: Mutex::default(),
            serving,
            joined: Mutex::default(),
            unlisted: Mutex::default(),
        }
    }
}
