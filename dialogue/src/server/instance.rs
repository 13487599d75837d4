//! Instances of rooms, from server code.

use std::sync::Arc;

use super::RoomHandle;
use crate::{
    Refusal, ServerRoom,
    hub::{InstanceInfo, not_found},
};

/// What to say of an instance that server code creates.
///
/// ```
/// use dialogue::NewRoom;
///
/// let room = NewRoom::new().name("Apollo").description("To the moon").max_size(50).created_by("alice");
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "it creates nothing by itself"]
pub struct NewRoom {
    info: InstanceInfo,
}

/// A room instance, as it is at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomDescription {
    /// Its id on the wire.
    pub room_id: String,
    /// Its name for people.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Connections in it.
    pub size: usize,
    /// Connections that it holds at most.
    pub max_size: Option<u32>,
    /// The user who created it, and may delete it.
    pub created_by: Option<String>,
}

impl NewRoom {
    /// A room of which nothing is said.
    pub fn new() -> Self {
        NewRoom::default()
    }

    /// Its name for people.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.info.name = Some(name.into());
        self
    }

    /// What it is for.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.info.description = Some(description.into());
        self
    }

    /// Connections that it holds at most; no more than the declaration says.
    pub fn max_size(mut self, connections: u32) -> Self {
        self.info.max_size = Some(connections);
        self
    }

    /// The user who may delete it, beside server code.
    pub fn created_by(mut self, user: impl Into<Arc<str>>) -> Self {
        self.info.created_by = Some(user.into());
        self
    }
}

impl<R: ServerRoom> RoomHandle<R> {
    /// Makes this instance, and tells those who watch. Without, the first join makes it, unannounced.
    ///
    /// # Errors
    ///
    /// `ROOM_EXISTS` if it is there; `TOO_MANY` if there are as many as there may be, or as that user may create;
    /// `UNAVAILABLE` while the store can't take it.
    pub async fn create(&self, room: NewRoom) -> Result<(), Refusal> {
        let place = self.place()?;
        let info = InstanceInfo { created: true, ..room.info };
        self.engine().create(&place.room, &place.room_id, info, None).await.map(drop)
    }

    /// Ends this instance for everybody in it, and tells those who watch; yields whether it was there. A later instance of
    /// the same key has a new log.
    ///
    /// # Errors
    ///
    /// `PERMISSION_DENIED` for a room that has no key: it is declared, and stays. `UNAVAILABLE` while the store can't do it.
    pub async fn delete(&self) -> Result<bool, Refusal> {
        let place = self.place()?;
        if !place.room.keyed {
            return Err(Refusal::new(crate::Code::PermissionDenied, "a declared room can't be deleted"));
        }
        let Some(instance) = self.engine().registry.look_up(&place.room_id).await? else { return Ok(false) };
        self.engine().delete(&instance).await?;
        Ok(true)
    }

    /// What there is to say of this instance; `None` if there is none at the moment.
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

    /// The ids of the users who are in it, at any instance, in their order.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while it can't be told who is in it elsewhere.
    pub async fn members(&self) -> Result<Vec<String>, Refusal> {
        let registry = &self.engine().registry;
        if let Some(instance) = registry.find(self.id()) {
            return match (instance.run(|state| state.user_ids()).await, instance.failure()) {
                (Some(users), _) => Ok(users),
                (None, Some(refusal)) => Err(refusal),
                // It is no more.
                (None, None) => Ok(Vec::new()),
            };
        }
        if registry.peers().is_none() {
            return Ok(Vec::new());
        }
        let place = self.place()?;
        registry.run(&place.room, &place.room_id, |state| state.user_ids()).await
    }

    pub(super) fn place(&self) -> Result<&super::handle::Place, Refusal> {
        self.whereabouts().ok_or_else(|| not_found(self.id()))
    }
}
