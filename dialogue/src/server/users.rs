//! Handles of connected users for server code. Operations on a user apply to the user's connections at all nodes.

use std::{fmt, sync::Arc};

use super::RoomHandle;
use crate::{
    Refusal,
    cluster::NodeRequest,
    engine::Engine,
    room::{EventOf, ServerRoom},
};

/// A handle of the connected users: `server.users()`.
#[derive(Clone)]
pub struct Users {
    engine: Arc<Engine>,
}

/// A handle of one user, connected or not: `server.users().get("alice")`.
#[derive(Clone)]
pub struct UserHandle {
    engine: Arc<Engine>,
    id: Arc<str>,
}

/// A snapshot of one connection of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The public id of the connection, as in the frame `connected`.
    pub client_id: String,
    /// The ids of the rooms that the connection is in, in no particular order.
    pub rooms: Vec<String>,
}

impl Users {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Users { engine }
    }

    /// Returns the number of users with a connection to this node.
    pub fn count(&self) -> usize {
        self.engine.directory.user_count()
    }

    /// Returns a handle of the user with this id, connected or not.
    pub fn get(&self, id: impl Into<Arc<str>>) -> UserHandle {
        UserHandle { engine: Arc::clone(&self.engine), id: id.into() }
    }
}

impl UserHandle {
    /// Returns the user's public id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the user's connections, to all nodes.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another node can't be reached, as for all operations on a user's connections.
    pub async fn connections(&self) -> Result<Vec<ConnectionInfo>, Refusal> {
        let response =
            self.engine.on_all_nodes(NodeRequest::ListConnections { user: (*self.id).into() }).await?;
        let connections = response.connections.into_iter();
        Ok(connections.map(|at| ConnectionInfo { client_id: at.client_id, rooms: at.rooms }).collect())
    }

    /// Returns the ids of the rooms that the user is in with any connection, sorted.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn rooms(&self) -> Result<Vec<String>, Refusal> {
        let connections = self.connections().await?;
        let mut rooms: Vec<_> = connections.into_iter().flat_map(|connection| connection.rooms).collect();
        rooms.sort_unstable();
        rooms.dedup();
        Ok(rooms)
    }

    /// Returns whether the user has a connection in `room`, at any node.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the room's members can't be read.
    pub async fn is_in<R: ServerRoom>(&self, room: &RoomHandle<R>) -> Result<bool, Refusal> {
        self.engine.is_in(&self.id, room.id()).await
    }

    /// Sends an event to this user alone: to each of the user's connections, at all nodes, that is in `room` and
    /// subscribed to the event. Returns the number of these connections.
    ///
    /// The event isn't logged: it has no sequence number, is in no history, and isn't replayed.
    ///
    /// # Errors
    ///
    /// Those of [`RoomHandle::trigger`], as the event passes the middleware stack; `UNAVAILABLE` if a node at which the
    /// user is in the room can't be reached.
    pub async fn send<R: ServerRoom, E: EventOf<R>>(
        &self,
        room: &RoomHandle<R>,
        event: E,
    ) -> Result<usize, Refusal> {
        room.send_to(&self.id, event).await
    }

    /// Removes the user's connections from `room`; each is sent the frame `left` with the reason. Returns whether the
    /// user was in the room. The user can join again unless a hook refuses it.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn remove_from<R: ServerRoom>(
        &self,
        room: &RoomHandle<R>,
        reason: &str,
    ) -> Result<bool, Refusal> {
        self.remove(Some(room.id().into()), reason).await.map(|connections| connections > 0)
    }

    /// Removes the user's connections from all rooms, as [`remove_from`](Self::remove_from) does.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn leave_all(&self, reason: &str) -> Result<(), Refusal> {
        self.remove(None, reason).await.map(drop)
    }

    async fn remove(&self, room_id: Option<Box<str>>, reason: &str) -> Result<usize, Refusal> {
        let request =
            NodeRequest::RemoveMember { user: (*self.id).into(), room_id, reason: reason.to_owned() };
        self.engine.on_all_nodes(request).await.map(|response| response.count)
    }

    /// Closes the user's connections with the close code 4403 and the reason, and returns their number. The user can
    /// reconnect unless the authenticator or a hook refuses it.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn disconnect(&self, reason: &str) -> Result<usize, Refusal> {
        self.close(None, reason).await
    }

    /// Closes one connection of the user, as [`disconnect`](Self::disconnect) does, and returns whether it existed.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn disconnect_one(&self, client_id: &str, reason: &str) -> Result<bool, Refusal> {
        self.close(Some(client_id.into()), reason).await.map(|connections| connections > 0)
    }

    async fn close(&self, client_id: Option<Box<str>>, reason: &str) -> Result<usize, Refusal> {
        let request =
            NodeRequest::Disconnect { user: (*self.id).into(), client_id, reason: reason.to_owned() };
        self.engine.on_all_nodes(request).await.map(|response| response.count)
    }

    /// Deletes the user's registered push devices, and returns their number. The user can register them again unless a
    /// hook refuses it.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be reached.
    pub async fn forget_devices(&self) -> Result<usize, Refusal> {
        match &self.engine.push {
            Some(push) => push.forget_user(&self.id).await,
            None => Ok(0),
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.count()).finish()
    }
}

impl fmt::Debug for UserHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
