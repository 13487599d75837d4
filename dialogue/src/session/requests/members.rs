//! `members`: a page of the users in a room.

use serde_json::value::RawValue;

use super::{Apply, PageLimits, Session};
use crate::{
    Refusal,
    live::{RoomRead, busy},
    wire::request::GetMembers,
};

/// `limit` in `members`.
const MEMBER_LIMITS: PageLimits = PageLimits { default: 100, max: 1_000 };

impl Apply for GetMembers<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = session.joined(&self.room_id)?;
        let (after, limit) = (self.after.as_deref().map(str::to_owned), MEMBER_LIMITS.check(self.limit)?);
        let own_id = id.map(RawValue::to_owned);
        let list = instance.request(|reply| RoomRead::Members { after, limit, id: own_id, reply }).await;
        session.outbox.send(&list.ok_or_else(|| busy(&instance.id))?);
        Ok(())
    }
}
