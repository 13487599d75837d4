//! `leave`: ends the connection's membership in a room.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Apply, Session};
use crate::{
    Code, Refusal,
    wire::{frame, request::Leave},
};

impl Apply for Leave<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let connection = Arc::clone(session.connection()?);
        let mut instance = match session.joined(&self.room_id) {
            Err(refusal) if refusal.code == Code::Unavailable => {
                connection.room(&self.room_id).ok_or(refusal)?
            }
            joined => joined?,
        };
        // Awaited, so that the reply comes after the last event.
        if let Some(was_in) = connection.remove_from(&instance, None).await {
            instance = was_in;
        }
        session.send(id, &frame::Left { room_id: (&*instance.id).into(), reason: None });
        session.engine.after_leave(&connection, &instance, "left").await;
        Ok(())
    }
}
