//! Instances of rooms that clients make and end, over a socket or HTTP.

use std::{net::IpAddr, sync::Arc};

use super::Request;
use crate::{
    Code, Refusal,
    engine::{Engine, ServerBounds},
    hooks::Actor,
    hub::{RoomInstanceInfo, not_found},
};

/// The wish of `createRoom`.
pub(crate) struct Creation {
    room_id: String,
    info: RoomInstanceInfo,
}

/// The caller that makes or ends an instance.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester<'a> {
    /// A user at an address, if that is known. The application may refuse them, and what they make is bounded.
    User(&'a Actor, Option<IpAddr>),
    /// The application's own backend, in this name.
    Backend(&'a Arc<str>),
}

impl Creation {
    /// Reads what a frame says.
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let info = RoomInstanceInfo {
            name: request.name()?,
            description: request.description()?,
            max_size: request.max_size()?,
            created: true,
            ..RoomInstanceInfo::default()
        };
        Ok(Creation { room_id: request.room_id()?.into_owned(), info })
    }

    /// Reads the body of an HTTP request: a frame without `type`.
    pub(crate) fn parse(text: &str, bounds: &ServerBounds) -> Result<Self, Refusal> {
        Self::read(&*Request::parse(text, bounds)?)
    }

    /// Makes the instance, and tells those who watch.
    ///
    /// # Errors
    ///
    /// `ROOM_NOT_FOUND` if there can't be one of that id, `ROOM_EXISTS` if there is; what a join would be refused; `TOO_MANY`;
    /// `UNAVAILABLE` while the store can't take it.
    pub(crate) async fn carry_out(mut self, engine: &Arc<Engine>, by: Requester<'_>) -> Result<(), Refusal> {
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

/// Ends an instance for everybody in it.
///
/// # Errors
///
/// `ROOM_NOT_FOUND` if there is none, `PERMISSION_DENIED` for a room without key and for users who didn't create it,
/// `UNAVAILABLE` while the store can't do it.
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
