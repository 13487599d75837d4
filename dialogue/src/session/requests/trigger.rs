//! `trigger`: sends an event to a room.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fields, Session, invalid};
use crate::{
    Refusal,
    ingest::{Payload, Trigger, TriggerFields, TriggerSender},
    live::{LiveRoom, PublishReply},
    observe::{EventOrigin, Source, spans},
    wire::{EventIndex, json, request},
};

/// The maximum length of a `key`.
pub(super) const MAX_KEY_BYTES: usize = 128;
/// The maximum size of `meta` as compact JSON.
const MAX_META_BYTES: usize = 1_024;

/// The request's room and event, and its other fields or their refusal.
type ReadTrigger<'a> = (Arc<LiveRoom>, EventIndex, Result<TriggerFields<'a>, Box<Refusal>>);

/// Passes the event of a `trigger` request to ingest, which has its acceptance sent.
///
/// # Errors
///
/// The refusal to be sent as the reply.
pub(in crate::session) async fn trigger(
    session: &Session,
    fields: &Fields<'_>,
    id: Option<&RawValue>,
) -> Result<(), Refusal> {
    let (instance, event, fields) = read(session, fields)?;
    let room = &instance.room;
    let (parent, event_name) = (Some(&session.span), room.event_name(event));
    let span = spans::trigger(parent, Source::WebSocket, room.name, &instance.id, event_name);
    let reply = PublishReply::Frame(Arc::clone(&session.outbox), id.map(|id| id.get().into()));
    let sender = TriggerSender::Member {
        connection: session.connection()?,
        instance: &instance,
        rate_limit_key: session.rate_limit_key.as_ref(),
        address: session.address,
        is_submitted: &session.is_submitted,
    };
    let origin = EventOrigin::now(&room.meter, Source::WebSocket, span);
    let mut trigger = Trigger { room, room_id: &instance.id, event, sender, fields, origin, reply };
    session.engine.ingest.trigger_with_reply(&mut trigger).await
}

/// Reads a request whose sender is in the room. Not a part of the future above, which would hold what this needs.
fn read<'a>(session: &Session, fields: &Fields<'a>) -> Result<ReadTrigger<'a>, Refusal> {
    #[derive(Deserialize)]
    struct EventName<'a> {
        #[serde(borrow)]
        event: request::Text<'a>,
    }

    let (room_id, event, fields) = match fields.read::<request::Trigger<'_>>() {
        Ok(trigger) => {
            let checked = checked_key(&trigger).and_then(|key| Ok((key, checked_meta(&trigger)?)));
            let request::Trigger { room_id, event, data, .. } = trigger;
            let payload = Payload::Json(data.into());
            (room_id, event, checked.map(|(key, meta)| TriggerFields { payload, key, meta }))
        }
        // The refusals of the membership and of the sender come before that of another field.
        Err(invalid) => {
            // A `leave` has no field but the room.
            let Ok(request::Leave { room_id }) = fields.read() else { return Err(invalid) };
            let Ok(EventName { event }) = fields.read() else {
                return Err(session.joined(&room_id).err().unwrap_or(invalid));
            };
            (room_id, event, Err(invalid))
        }
    };
    let instance = session.joined(&room_id)?;
    let room = &instance.room;
    let event = room.event(&event).ok_or_else(|| room.not_carried(&event))?;
    Ok((instance, event, fields.map_err(Box::new)))
}

/// Returns the idempotency key.
pub(super) fn checked_key(trigger: &request::Trigger<'_>) -> Result<Option<Box<str>>, Refusal> {
    match &trigger.key {
        Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => {
            Err(invalid("`key` is a string of 1 to 128 bytes"))
        }
        key => Ok(key.as_ref().map(|key| Box::from(&**key))),
    }
}

/// Returns `meta` as compact JSON.
pub(super) fn checked_meta(trigger: &request::Trigger<'_>) -> Result<Option<Box<str>>, Refusal> {
    let Some(meta) = trigger.meta.as_ref().map(request::Raw::get) else { return Ok(None) };
    if !meta.starts_with('{') {
        return Err(invalid("`meta` is an object"));
    }
    // Compact, since a frame contains no raw newline; the size is that of the compact form.
    let meta = json::compact(meta);
    if meta.len() > MAX_META_BYTES {
        return Err(invalid("`meta` is at most 1024 bytes of JSON"));
    }
    if let Some(why) = json::unreadable(&meta) {
        return Err(invalid(format!("`meta` {why}")));
    }
    if json::names_one_twice(&meta) {
        return Err(invalid("`meta` names a member twice"));
    }
    Ok(Some(meta.into()))
}
