//! `deleteRoom`: deletes an instance of a keyed room, over a WebSocket or HTTP.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Apply, Requester, Session};
use crate::{Code, Refusal, engine::Engine, live::not_found, wire::request::DeleteRoom};

impl Apply for DeleteRoom<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let actor = session.connection()?.actor();
        session.mark_submitted();
        delete_room(&session.engine, &self.room_id, Requester::User(&actor, session.address)).await?;
        session.send_done(id);
        Ok(())
    }
}

/// Deletes a room instance; its members leave.
///
/// # Errors
///
/// `ROOM_NOT_FOUND` if there is none, `PERMISSION_DENIED` for a room without a key and for users who did not create it,
/// `UNAVAILABLE` while the store can't be written.
pub(crate) async fn delete_room(
    engine: &Arc<Engine>,
    room_id: &str,
    by: Requester<'_>,
) -> Result<(), Refusal> {
    let denied = |message: &'static str| Refusal::new(Code::PermissionDenied, message);
    let room = engine.room(room_id)?;
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
