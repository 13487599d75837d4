//! `join`: makes the connection a member of a room, and replays what it missed.

use serde_json::value::RawValue;

use super::{Apply, Session, fields::object, invalid, named_events};
use crate::{
    Refusal,
    live::{JoinOptions, StreamSlot},
    room::Channel,
    wire::{
        Position,
        request::{Join, Raw},
    },
};

impl Apply for Join<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let room = session.engine.room(&self.room_id)?;
        let max = session.engine.bounds.requests.max_subscribed_events;
        let options = JoinOptions {
            filter: self.events.map(|names| named_events(room, &names, max)).transpose()?,
            since: self.since.as_ref().map(position).transpose()?,
            slot: StreamSlot::default(),
            id: id.map(RawValue::to_owned),
        };
        session.join(&self.room_id, Channel::WebSocket, options).await
    }
}

/// Parses and checks a `since`.
pub(super) fn position(since: &Raw<'_>) -> Result<Position, Refusal> {
    let position: Position = object("since", since.get())?;
    match position.is_well_formed() {
        true => Ok(position),
        false => Err(invalid(
            "`since`: `epoch` and `eventId` are at most 64 of `A` to `Z`, `a` to `z`, `0` to `9`, `-` and `_`",
        )),
    }
}
