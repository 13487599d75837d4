//! Operations on a user's connections at all nodes: the requests that this node sends to the others, and the handler of
//! the requests that it receives.

use std::{pin::Pin, sync::Arc};

use super::{AnnouncementKind, Engine};
use crate::{
    Code, Refusal,
    cluster::{NodeRequest, NodeRequestHandler, NodeResponse, RemoteConnection},
    live::{
        ConnectionHandle, NewEvent, OutboxCloseReason, PublishReply, PublishRequest, RoomChange, RoomRead,
        TargetedEvent,
    },
    observe::EventOrigin,
    wire::{
        Id,
        frame::{self, ServerFrame},
    },
};

impl Engine {
    /// Handles a request at this node and all others, and returns their combined response.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another node can't be reached. The request may have been handled at some nodes by then.
    pub(crate) async fn on_all_nodes(
        self: &Arc<Self>,
        request: NodeRequest,
    ) -> Result<NodeResponse, Refusal> {
        let remote = async {
            match self.registry.cluster() {
                Some(cluster) => cluster.request_all(request.clone()).await,
                None => Ok(Vec::new()),
            }
        };
        let (mut combined, remote) = tokio::join!(Arc::clone(self).handle_locally(request.clone()), remote);
        let remote = remote.map_err(|error| {
            tracing::debug!(%error, "can't send a request to other nodes");
            Refusal::new(Code::Unavailable, "another node can't be reached; try again")
        })?;
        for response in remote {
            combined.count += response.count;
            combined.connections.extend(response.connections);
        }
        Ok(combined)
    }

    /// Returns whether a user has a connection in a room, at any node.
    pub(crate) async fn is_in(&self, user: &Arc<str>, room_id: &str) -> Result<bool, Refusal> {
        if self.directory.is_in_room(user, room_id) {
            return Ok(true);
        }
        if self.registry.cluster().is_none() {
            return Ok(false);
        }
        let room = self.room(room_id)?;
        let nodes =
            self.registry.request(room, room_id, |reply| RoomRead::NodesOfUser(Arc::clone(user), reply));
        Ok(!nodes.await?.is_empty())
    }

    /// Announces a created or deleted room to the watching clients of other nodes.
    pub(super) fn announce_to_nodes(&self, room_id: &str, created: bool) {
        if let Some(cluster) = self.registry.cluster() {
            cluster.announce_room(room_id, created);
        }
    }

    async fn handle_locally(self: Arc<Self>, request: NodeRequest) -> NodeResponse {
        let connections = |count| NodeResponse { count, connections: Vec::new() };
        match request {
            NodeRequest::SendToUser { .. } => connections(self.send_to_user(request).await),
            NodeRequest::RemoveMember { user, room_id, reason } => {
                connections(self.remove_user(&user, room_id.as_deref(), &reason).await)
            }
            NodeRequest::Disconnect { user, client_id, reason } => {
                let links = self.directory.connections_of(&user);
                let wanted = links
                    .iter()
                    .filter(|link| client_id.as_deref().is_none_or(|id| link.client_id.as_str() == id));
                let closed =
                    wanted.map(|link| link.outbox.close(OutboxCloseReason::Removed(reason.as_str().into())));
                connections(closed.count())
            }
            NodeRequest::FreePlaces { user, room_id } => {
                connections(self.remove_dead_connections(&room_id, &user, None).await)
            }
            NodeRequest::ListConnections { user } => {
                let links = self.directory.connections_of(&user);
                NodeResponse {
                    count: links.len(),
                    connections: links.iter().map(|link| connection(link)).collect(),
                }
            }
        }
    }

    /// Removes a user's connections to this node from a room, or from all rooms. Returns the number of memberships that
    /// ended.
    async fn remove_user(&self, user: &str, room_id: Option<&str>, reason: &str) -> usize {
        let mut removed = 0;
        for link in self.directory.connections_of(user) {
            let rooms = match room_id {
                Some(room_id) => link.room(room_id).into_iter().collect(),
                None => link.rooms(),
            };
            for instance in rooms {
                removed += usize::from(self.remove_from_room(&link, &instance, reason).await);
            }
        }
        removed
    }

    /// Sends an event of another node to a user's connections to this one, and returns to how many.
    async fn send_to_user(&self, request: NodeRequest) -> usize {
        let NodeRequest::SendToUser { room_id, user, event, event_id, timestamp, data, from, server, meta } =
            request
        else {
            return 0;
        };
        let Some(instance) = self.registry.find(&room_id) else { return 0 };
        let (Some(event), Some(event_id)) = (instance.room.event(&event), Id::parse(&event_id)) else {
            return 0;
        };
        let to = self.directory.connections_of(&user).iter().map(|link| link.id()).collect();
        let targeted = TargetedEvent { event_id, timestamp, to };
        let event = NewEvent {
            index: event,
            data,
            conflation_key: None,
            from: (*from).into(),
            server,
            meta,
            key: None,
            event_id: None,
        };
        let origin = EventOrigin::other_node();
        let publish =
            Box::new(PublishRequest { event, origin, sender_outbox: None, reply: PublishReply::None });
        let user = user.into();
        let deliver = |reply| RoomChange::DeliverTargeted { publish, targeted, user, reply };
        instance.request(deliver).await.map_or(0, |(subscriptions, _)| subscriptions)
    }

    /// Announces a room that another node has created or deleted to the watching clients of this one.
    async fn announce_from_node(&self, room_id: &str, created: bool) {
        let Ok(room) = self.room(room_id) else { return };
        if !created {
            if let Some(instance) = self.registry.find(room_id) {
                // The room's members get `left` before watchers get `roomDeleted`.
                instance.catch_up();
                instance.barrier().await;
            }
            return self.announce_deleted(room, &room_id.into());
        }
        match self.registry.describe(room, room_id).await {
            Ok(Some(described)) => {
                let created = frame::RoomCreated { room: described }.encode(None);
                self.announce(room, &room_id.into(), AnnouncementKind::Created, created);
            }
            // Deleted meanwhile.
            Ok(None) => {}
            Err(refusal) => tracing::debug!(room_id, %refusal, "can't announce a room"),
        }
    }
}

impl NodeRequestHandler for Engine {
    fn handle(self: Arc<Self>, request: NodeRequest) -> Pin<Box<dyn Future<Output = NodeResponse> + Send>> {
        Box::pin(self.handle_locally(request))
    }

    fn room_changed(
        self: Arc<Self>,
        room_id: &str,
        created: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let room_id = room_id.to_owned();
        Box::pin(async move { self.announce_from_node(&room_id, created).await })
    }
}

fn connection(link: &ConnectionHandle) -> RemoteConnection {
    RemoteConnection {
        client_id: link.client_id.as_str().to_owned(),
        rooms: link.rooms().iter().map(|instance| instance.id.to_string()).collect(),
    }
}
