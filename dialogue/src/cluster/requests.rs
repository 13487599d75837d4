//! Requests between nodes: an operation on a user's connections is sent to all nodes, and each responds with its
//! result.
//!
//! A request is broadcast in the feed of a room, with an id; the responses carry the same id. The caller waits for the
//! nodes that are reachable, and fails if one of them doesn't respond in time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    Cluster, NodeMessage, NodeRequest, NodeRequestHandler, NodeResponse, RoomNotice, SERVER_ROOM,
    SharedRooms,
    pending_requests::{PendingRequests, note_recent, recent},
};
use crate::{store::StoreError, wire::Id};

/// The timeout of a request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of a request for which the other nodes wait for clients themselves.
const FREE_PLACES_TIMEOUT: Duration = Duration::from_secs(4);
/// The interval at which a waiting request drops the nodes that have left.
const NODE_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Responses queued for a request.
const MAX_QUEUED_RESPONSES: usize = 1_024;

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
