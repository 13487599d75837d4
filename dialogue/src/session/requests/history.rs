//! `getHistory`: a page of the log of a room.

use serde_json::value::RawValue;

use super::{Apply, PageLimits, Session};
use crate::{
    Refusal,
    live::history,
    wire::{EventSet, request::GetHistory},
};

/// `limit` in `getHistory`.
pub(crate) const HISTORY_LIMITS: PageLimits = PageLimits { default: 50, max: 200 };

impl Apply for GetHistory<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = session.joined(&self.room_id)?;
        let wanted = match self.event {
            Some(event) => instance.room.events_named([&*event])?,
            None => EventSet::ALL,
        };
        let limit = HISTORY_LIMITS.check(self.limit)?.min(session.engine.bounds.requests.max_history_events);
        let page = instance.history(self.before, wanted, limit).await?;
        session.outbox.send(&history(&instance.id, &page, id));
        Ok(())
    }
}
