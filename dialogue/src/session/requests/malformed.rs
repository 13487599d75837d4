//! The refusal of a request with an invalid field.
//!
//! A request is read as a whole before it is carried out. A client that isn't in the room is told so, whatever else is
//! wrong: its membership is checked here, on the path of errors only. Ingest does this for a trigger.

use super::{Fields, Session};
use crate::{
    Refusal,
    wire::request::{ClientRequest, GetHistory, GetMembers, Join, Leave, Subscribe, Unsubscribe},
};

/// Returns the refusal of a request of type `kind`, of which a field is missing or invalid.
pub(super) fn refusal(session: &Session, kind: &str, fields: &Fields<'_>, invalid: Refusal) -> Refusal {
    // A `leave` has no field but the room.
    let Ok(Leave { room_id }) = fields.read() else { return invalid };
    match kind {
        Join::TYPE => session.engine.room(&room_id).err().unwrap_or(invalid),
        GetHistory::TYPE | GetMembers::TYPE | Subscribe::TYPE | Unsubscribe::TYPE => {
            session.joined(&room_id).err().unwrap_or(invalid)
        }
        _ => invalid,
    }
}
