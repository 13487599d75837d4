//! The requests `createRoom` and `deleteRoom`, over a WebSocket or HTTP.

use std::{net::IpAddr, sync::Arc};

use super::Request;
use crate::{
    Code, Refusal,
    engine::{Engine, ServerBounds},
    hooks::UntypedCaller,
    hub::{RoomInstanceInfo, not_found},
};

/// A parsed `createRoom` request.
pub(crate) struct CreateRoom {
    room_id: String,
    info: RoomInstanceInfo,
}

/// The caller of a `createRoom` or `deleteRoom` request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester<'a> {
    /// A user, with the address if it is known. Subject to the application's hooks and to the bounds on created rooms.
    User(&'a UntypedCaller, Option<IpAddr>),
    /// The application's backend with a server key, under this name.
    Backend(&'a Arc<str>),
}

impl CreateRoom {
    /// Reads the fields of a frame.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let info = RoomInstanceInfo {
            name: request.name()?,
            description: request.description()?,
            max_size: request.max_size()?,
            created: true,
            ..RoomInstanceInfo::default()
        };
        Ok(CreateRoom { room_id: request.room_id()?.into_owned(), info })
    }

    /// Parses the body of an HTTP request: a frame without `type`.
    pub(crate) fn parse(text: &str, bounds: &ServerBounds) -> Result<Self, Refusal> {
        Self::read(&*Request::parse(text, bounds)?)
    }

    /// Creates the room instance, and notifies the clients that watch the room list.
    ///
    /// # Errors
    ///
    /// `ROOM_NOT_FOUND` if the id is of no declared room, `ROOM_EXISTS` if the instance exists; the refusal of a join;
    /// `TOO_MANY` if the user has created too many; `UNAVAILABLE` while the store can't be written.
    pub(crate) async fn execute(mut self, engine: &Arc<Engine>, by: Requester<'_>) -> Result<(), Refusal> {
        let (room, _) = engine.room(&self.room_id)?;
        let maker = match by {
            Requester::User(actor, address) => {
                self.info.created_by = Some(Arc::clone(&actor.user.id));
                engine.may_create(actor, room, &self.room_id).await?;
                Some(engine.maker(&actor.user.id, address))
            }
            Requester::Backend(from) => {
                (self.info.created_by, self.info.unbounded) = (Some(Arc::clone(from)), true);
                None
            }
        };
        engine.create(room, &self.room_id, self.info, maker).await.map(drop)
    }
}

/// Deletes a room instance; its members leave.
///
/// # Errors
///
/// `ROOM_NOT_FOUND` if there is none, `PERMISSION_DENIED` for a room without a key and for users who did not create it,
/// `UNAVAILABLE` while the store can't be written.
pub(crate) async fn delete(engine: &Arc<Engine>, room_id: &str, by: Requester<'_>) -> Result<(), Refusal> {
    let denied = |message: &'static str| Refusal::new(Code::PermissionDenied, message);
    let (room, _) = engine.room(room_id)?;
    if !room.keyed {
        return Err(denied("a declared room can't be deleted"));
    }
    let instance = engine.registry.look_up(room_id).await?.ok_or_else(|| not_found(room_id))?;
    if let Requester::User(actor, _) = by
        && instance.info().created_by.as_ref() != Some(&actor.user.id)
    {
        return Err(denied("only its creator may delete a room"));
    }
    engine.delete(&instance).await
}
