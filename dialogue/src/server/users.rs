//! The users that are connected, for server code.

use std::{fmt, sync::Arc};

use super::RoomHandle;
use crate::{
    Gated, Refusal, Served,
    engine::Engine,
    hub::{Cut, Link},
};

/// The users that are connected to this process: `server.users()`.
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

    /// How many users have a connection.
    pub fn count(&self) -> usize {
        self.engine.directory.len()
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

    /// The user's connections.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let info = |link: &Arc<Link>| ConnectionInfo {
            client_id: link.client_id.as_str().to_owned(),
            rooms: link.rooms().iter().map(|instance| instance.id.to_string()).collect(),
        };
        self.links().iter().map(info).collect()
    }

    /// The ids of the rooms that the user is in with any connection, in their order.
    pub fn rooms(&self) -> Vec<String> {
        let mut rooms: Vec<_> =
            self.connections().into_iter().flat_map(|connection| connection.rooms).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    /// Whether the user has a connection in `room`.
    pub fn is_in<R: Served>(&self, room: &RoomHandle<R>) -> bool {
        self.links().iter().any(|link| link.room(room.id()).is_some())
    }

    /// Sends an event to this user alone: to each of the user's connections that is in `room` and wants it. Yields to how
    /// many.
    ///
    /// It goes past the room's log: it has no number, is in no history, and isn't replayed.
    ///
    /// # Errors
    ///
    /// As [`RoomHandle::trigger`], of the room's middleware too.
    pub async fn send<R: Served, E: Gated<R>>(
        &self,
        room: &RoomHandle<R>,
        event: E,
    ) -> Result<usize, Refusal> {
        room.send_to(&self.links(), event).await
    }

    /// Puts the user out of `room`, and says why: `left`, with the reason. Nothing keeps the user from joining again but the
    /// hooks. Yields whether the user was in.
    pub async fn remove_from<R: Served>(&self, room: &RoomHandle<R>, reason: &str) -> bool {
        let mut was_in = false;
        for link in self.links() {
            if let Some(instance) = link.room(room.id()) {
                was_in |= self.engine.put_out(&link, &instance, reason).await;
            }
        }
        was_in
    }

    /// Puts the user out of all rooms, as [`remove_from`](Self::remove_from).
    pub async fn leave_all(&self, reason: &str) {
        for link in self.links() {
            for instance in link.rooms() {
                self.engine.put_out(&link, &instance, reason).await;
            }
        }
    }

    /// Closes the user's connections, with 4403 and the reason. Nothing keeps the user from coming back but the
    /// authenticator and the hooks. Yields how many there were.
    pub fn disconnect(&self, reason: &str) -> usize {
        let links = self.links();
        for link in &links {
            link.outbox.cut(Cut::Removed(reason.into()));
        }
        links.len()
    }

    /// Closes one connection of the user, likewise; yields whether there was one.
    pub fn disconnect_one(&self, client_id: &str, reason: &str) -> bool {
        let links = self.links();
        let link = links.iter().find(|link| link.client_id.as_str() == client_id);
        link.map(|link| link.outbox.cut(Cut::Removed(reason.into()))).is_some()
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

    fn links(&self) -> Vec<Arc<Link>> {
        self.engine.directory.links(&self.id)
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
