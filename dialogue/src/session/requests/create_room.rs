//! `createRoom`: creates an instance of a keyed room, over a WebSocket or HTTP.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Apply, Requester, Session, invalid};
use crate::{
    Refusal,
    engine::Engine,
    live::{Opener, RoomInstanceInfo},
    wire::request::{CreateRoom, Text},
};

/// The maximum length of a room's name or description.
const MAX_TEXT_BYTES: usize = 1_024;

impl Apply for CreateRoom<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = session.connection()?.actor();
        session.mark_submitted();
        create_room(&session.engine, self, Requester::User(&actor, session.address)).await?;
        session.send_done(id);
        Ok(())
    }
}

/// Creates the room instance, and notifies the clients that watch the room list.
///
/// # Errors
///
/// `INVALID_REQUEST` for a name or description that is too long; `ROOM_NOT_FOUND` if the id is of no declared room,
/// `ROOM_EXISTS` if the instance exists; the refusal of a join; `TOO_MANY` if the user has created too many;
/// `UNAVAILABLE` while the store can't be written.
pub(crate) async fn create_room(
    engine: &Arc<Engine>,
    request: CreateRoom<'_>,
    by: Requester<'_>,
) -> Result<(), Refusal> {
    let mut info = info(&request)?;
    let room_id = &*request.room_id;
    let room = engine.room(room_id)?;
    let opener = match by {
        Requester::User(actor, address) => {
            info.created_by = Some(Arc::clone(&actor.user.id));
            engine.admission.access.may_create(actor, room, room_id).await?;
            Some(Opener::new(&actor.user.id, address, &engine.admission.connection_limiter))
        }
        Requester::Backend(from) => {
            (info.created_by, info.unbounded) = (Some(Arc::clone(from)), true);
            None
        }
    };
    engine.create(room, room_id, info, opener).await.map(drop)
}

/// Checks the description of the instance.
pub(super) fn info(request: &CreateRoom<'_>) -> Result<RoomInstanceInfo, Refusal> {
    if request.max_size == Some(0) {
        return Err(invalid("`maxSize` is at least 1"));
    }
    Ok(RoomInstanceInfo {
        name: short("name", request.name.as_ref())?,
        description: short("description", request.description.as_ref())?,
        max_size: request.max_size,
        created: true,
        ..RoomInstanceInfo::default()
    })
}

fn short(name: &str, text: Option<&Text<'_>>) -> Result<Option<String>, Refusal> {
    if text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(invalid(format!("`{name}` is at most {MAX_TEXT_BYTES} bytes")));
    }
    Ok(text.map(|text| String::from(&**text)))
}
