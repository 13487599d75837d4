//! `subscribe` and `unsubscribe`: change the events of a room that the connection receives.

use serde_json::value::RawValue;

use super::{Apply, Session, named_events};
use crate::{
    Refusal,
    live::{RoomChange, SubscriptionChange, not_in_room, unavailable},
    wire::{
        EventSet,
        request::{Subscribe, Text, Unsubscribe},
    },
};

impl Apply for Subscribe<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        change(session, &self.room_id, &self.events, SubscriptionChange::Add).await?;
        session.send_done(id);
        Ok(())
    }
}

impl Apply for Unsubscribe<'_> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        change(session, &self.room_id, &self.events, SubscriptionChange::Remove).await?;
        session.send_done(id);
        Ok(())
    }
}

async fn change(
    session: &Session,
    room_id: &str,
    names: &[Text<'_>],
    change: fn(EventSet) -> SubscriptionChange,
) -> Result<(), Refusal> {
    let instance = session.joined(room_id)?;
    let named = named_events(&instance.room, names, session.engine.bounds.requests.max_subscribed_events)?;
    let connection_id = session.outbox.id();
    match instance.request(|reply| RoomChange::Subscribe(connection_id, change(named), reply)).await {
        Some(true) => Ok(()),
        _ if session.connection()?.is_migrating(&instance.id) => Err(unavailable(&instance.id)),
        // The member was removed just now.
        _ => Err(not_in_room()),
    }
}
