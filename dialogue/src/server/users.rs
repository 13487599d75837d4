//! The users that are connected, for server code.

use std::{fmt, sync::Arc};

use super::RoomHandle;
use crate::{EventOf, Refusal, ServerRoom, engine::Engine, hub::Question};

/// The users that are connected: `server.users()`.
#[derive(Clone)]
pub struct Users {
    engine: Arc<Engine>,
}

/// One user, connected or not: `server.users().get("alice")`.
#[derive(Clone)]
pub struct UserHandle {
    engine: Arc<Engine>,
    id: Arc<str>,
}

/// One connection of a user, as it is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its public id, as in `connected`.
    pub client_id: String,
    /// The ids of the rooms that it is in, in no order.
    pub rooms: Vec<String>,
}

impl Users {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Users { engine }
    }

    /// How many users have a connection to this instance.
    pub fn count(&self) -> usize {
        self.engine.directory.user_count()
    }

    /// The user with this id, connected or not.
    pub fn get(&self, id: impl Into<Arc<str>>) -> UserHandle {
        UserHandle { engine: Arc::clone(&self.engine), id: id.into() }
    }
}

impl UserHandle {
    /// The user's public id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The user's connections, to all instances.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another instance can't be reached, as of all that is done wherever the user is connected.
    pub async fn connections(&self) -> Result<Vec<ConnectionInfo>, Refusal> {
        let answer = self.engine.everywhere(Question::Connections { user: (*self.id).into() }).await?;
        let connections = answer.connections.into_iter();
        Ok(connections.map(|at| ConnectionInfo { client_id: at.client_id, rooms: at.rooms }).collect())
    }

    /// The ids of the rooms that the user is in with any connection, in their order.
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

    /// Whether the user has a connection in `room`, at any instance.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the room can't be looked up.
    pub async fn is_in<R: ServerRoom>(&self, room: &RoomHandle<R>) -> Result<bool, Refusal> {
        self.engine.is_in(&self.id, room.id()).await
    }

    /// Sends an event to this user alone: to each of the user's connections that is in `room` and wants it, at any instance.
    /// Yields to how many.
    ///
    /// It goes past the room's log: it has no number, is in no history, and isn't replayed.
    ///
    /// # Errors
    ///
    /// As [`RoomHandle::trigger`], of the room's middleware too; `UNAVAILABLE` if an instance at which the user is in the
    /// room can't be reached.
    pub async fn send<R: ServerRoom, E: EventOf<R>>(
        &self,
        room: &RoomHandle<R>,
        event: E,
    ) -> Result<usize, Refusal> {
        room.send_to(&self.id, event).await
    }

    /// Puts the user out of `room`, and says why: `left`, with the reason. Nothing keeps the user from joining again but the
    /// hooks. Yields whether the user was in.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn remove_from<R: ServerRoom>(
        &self,
        room: &RoomHandle<R>,
        reason: &str,
    ) -> Result<bool, Refusal> {
        self.put_out(Some(room.id().into()), reason).await.map(|connections| connections > 0)
    }

    /// Puts the user out of all rooms, as [`remove_from`](Self::remove_from).
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn leave_all(&self, reason: &str) -> Result<(), Refusal> {
        self.put_out(None, reason).await.map(drop)
    }

    async fn put_out(&self, room_id: Option<Box<str>>, reason: &str) -> Result<usize, Refusal> {
        let question = Question::PutOut { user: (*self.id).into(), room_id, reason: reason.to_owned() };
        self.engine.everywhere(question).await.map(|answer| answer.count)
    }

    /// Closes the user's connections, with 4403 and the reason. Nothing keeps the user from coming back but the
    /// authenticator and the hooks. Yields how many there were.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn disconnect(&self, reason: &str) -> Result<usize, Refusal> {
        self.close(None, reason).await
    }

    /// Closes one connection of the user, likewise; yields whether there was one.
    ///
    /// # Errors
    ///
    /// As [`connections`](Self::connections).
    pub async fn disconnect_one(&self, client_id: &str, reason: &str) -> Result<bool, Refusal> {
        self.close(Some(client_id.into()), reason).await.map(|connections| connections > 0)
    }

    async fn close(&self, client_id: Option<Box<str>>, reason: &str) -> Result<usize, Refusal> {
        let question = Question::Disconnect { user: (*self.id).into(), client_id, reason: reason.to_owned() };
        self.engine.everywhere(question).await.map(|answer| answer.count)
    }

    /// Forgets the devices that the user registered for notifications; yields how many there were. Nothing keeps the user from
    /// registering them again but the hooks.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store is.
    #[cfg(feature = "push")]
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
