//! Creation, deletion and description of room instances by server code.

use std::sync::Arc;

use super::RoomHandle;
use crate::{
    Refusal,
    live::{RoomInstanceInfo, RoomRead},
    room::ServerRoom,
};

/// The properties of a room instance that server code creates.
///
/// ```
/// use dialogue::server::NewRoom;
///
/// let room = NewRoom::new().name("Apollo").description("To the moon").max_size(50).created_by("alice");
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it does nothing until it is passed to `create`"]
pub struct NewRoom {
    info: RoomInstanceInfo,
}

/// A snapshot of a room instance's properties.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomDescription {
    /// The room's id on the wire.
    pub room_id: String,
    /// The display name.
    pub name: String,
    /// The description for people.
    pub description: Option<String>,
    /// The number of connections in the room.
    pub size: usize,
    /// The maximum number of connections.
    pub max_size: Option<u32>,
    /// The id of the user who created the room, and may delete it.
    pub created_by: Option<String>,
}

impl NewRoom {
    /// Returns an empty set of properties.
    pub fn new() -> Self {
        NewRoom::default()
    }

    /// Sets the display name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.info.name = Some(name.into());
        self
    }

    /// Sets the description for people.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.info.description = Some(description.into());
        self
    }

    /// Sets the maximum number of connections. The declared capacity still applies if it is lower.
    pub fn max_size(mut self, connections: u32) -> Self {
        self.info.max_size = Some(connections);
        self
    }

    /// Sets the user who may delete the room, besides server code.
    pub fn created_by(mut self, user: impl Into<Arc<str>>) -> Self {
        self.info.created_by = Some(user.into());
        self
    }
}

impl<R: ServerRoom> RoomHandle<R> {
    /// Creates this room instance and announces it to watching clients. A room that isn't created opens with its first
    /// join, without an announcement.
    ///
    /// # Errors
    ///
    /// `ROOM_EXISTS` if the room exists; `TOO_MANY` at the maximum number of rooms, in all or of that user;
    /// `UNAVAILABLE` while the store can't record it.
    pub async fn create(&self, room: NewRoom) -> Result<(), Refusal> {
        let target = self.target()?;
        let info = RoomInstanceInfo { created: true, ..room.info };
        self.engine().create(&target.room, &target.room_id, info, None).await.map(drop)
    }

    /// Deletes this room instance and its log, removes its members, and announces that to watching clients. Returns
    /// whether the room existed. A later room with the same key has a new log.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a room without keys, which always exists. `UNAVAILABLE` while the store can't delete it.
    pub async fn delete(&self) -> Result<bool, Refusal> {
        let target = self.target()?;
        if !target.room.keyed {
            return Err(Refusal::new(crate::Code::PermissionDenied, "a declared room can't be deleted"));
        }
        let Some(instance) = self.engine().registry.look_up(&target.room_id).await? else { return Ok(false) };
        self.engine().delete(&instance).await?;
        Ok(true)
    }

    /// Returns the properties of this room instance, or `None` if it doesn't exist at the moment.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub async fn describe(&self) -> Result<Option<RoomDescription>, Refusal> {
        let Some(instance) = self.engine().registry.look_up(self.id()).await? else { return Ok(None) };
        let crate::wire::frame::RoomInfo { room_id, name, description, size, max_size, created_by } =
            instance.describe();
        Ok(Some(RoomDescription { room_id, name, description, size, max_size, created_by }))
    }

    /// Returns the ids of the room's members, at all nodes, sorted.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the members at other nodes can't be read.
    pub async fn members(&self) -> Result<Vec<String>, Refusal> {
        let registry = &self.engine().registry;
        if let Some(instance) = registry.find(self.id()) {
            return match (instance.request(RoomRead::UserIds).await, instance.failure()) {
                (Some(users), _) => Ok(users),
                (None, Some(refusal)) => Err(refusal),
                // Closed meanwhile.
                (None, None) => Ok(Vec::new()),
            };
        }
        if registry.cluster().is_none() {
            return Ok(Vec::new());
        }
        let target = self.target()?;
        registry.request(&target.room, &target.room_id, RoomRead::UserIds).await
    }
}
