//! `listRooms`: a page of the rooms that the user sees, and of the changes to the list from then on.

use serde_json::value::RawValue;

use super::{Apply, PageLimits, Session};
use crate::{Refusal, wire::request::ListRooms};

/// `limit` in `listRooms`.
pub(crate) const ROOM_LIST_LIMITS: PageLimits = PageLimits { default: 100, max: 1_000 };

impl Apply for ListRooms<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let limit = ROOM_LIST_LIMITS.check(self.limit)?;
        if self.watch == Some(true) && !session.watches_rooms {
            session.engine.watch(session.connection()?);
            // Before the await, so that a session that is dropped meanwhile stops watching.
            session.watches_rooms = true;
        }
        let actor = session.connection()?.actor();
        let rooms = session.engine.list(Some(&actor), self.after.as_deref(), limit).await?;
        session.send(id, &rooms);
        Ok(())
    }
}
