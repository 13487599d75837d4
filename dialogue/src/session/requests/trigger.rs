//! `trigger`: sends an event to a room.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::{Instrument, Span};

use super::{Apply, Fields, Session, invalid};
use crate::{
    Code, Refusal,
    event::Sender,
    hub::{LiveRoom, PublishReply, PublishRequest, RoomCommand, RoomSpec, busy, not_found, not_in_room},
    ingest::{EncodedEvent, Trigger},
    observe::{EventOrigin, Source, record_refusal, spans},
    store::{KeyScope, scoped},
    wire::{EventIndex, frame::ServerFrame, json, request},
};

/// The maximum length of a `key`.
pub(super) const MAX_KEY_BYTES: usize = 128;
/// The maximum size of `meta` as compact JSON.
const MAX_META_BYTES: usize = 1_024;

impl Apply for Box<request::Trigger<'_>> {
    async fn apply(self, session: &mut Session, id: Option<&RawValue>) -> Result<(), Refusal> {
        let instance = session.joined(&self.room_id)?;
        let room = &instance.room;
        let event = room.event(&self.event).ok_or_else(|| room.not_carried(&self.event))?;
        let span = span(session, &instance, event);
        let origin = EventOrigin::now(&room.meter, Source::WebSocket, span.clone());
        let triggered = self.trigger_in(session, &instance, event, origin, id).await;
        triggered.inspect_err(|refusal| refused(room, &span, refusal))
    }
}

/// Returns the refusal of a trigger with an invalid field, whose sender is in the room: that of its event and of its
/// sender comes first. Counts it as that of any trigger.
pub(super) fn malformed(
    session: &Session,
    instance: &LiveRoom,
    fields: &Fields<'_>,
    invalid: Refusal,
) -> Refusal {
    #[derive(Deserialize)]
    struct EventName<'a> {
        #[serde(borrow)]
        event: request::Text<'a>,
    }

    let Ok(EventName { event: name }) = fields.read() else { return invalid };
    let room = &instance.room;
    let Some(event) = room.event(&name) else { return room.not_carried(&name) };
    let refusal = check_sender(room, event).err().unwrap_or(invalid);
    refused(room, &span(session, instance, event), &refusal);
    refusal
}

fn span(session: &Session, instance: &LiveRoom, event: EventIndex) -> Span {
    let room = &instance.room;
    spans::trigger(Some(&session.span), Source::WebSocket, room.name, &instance.id, room.event_name(event))
}

fn refused(room: &RoomSpec, span: &Span, refusal: &Refusal) {
    room.meter.refused(Source::WebSocket, refusal);
    record_refusal(span, refusal);
}

/// Refuses an event that only the server sends.
fn check_sender(room: &RoomSpec, event: EventIndex) -> Result<(), Refusal> {
    match room.kind(event) {
        Some(kind) if kind.sender != Sender::Server => Ok(()),
        _ => {
            let message = format!("`{}` is sent by the server only", room.event_name(event));
            Err(Refusal::new(Code::EventNotAllowed, message))
        }
    }
}

impl request::Trigger<'_> {
    async fn trigger_in(
        &self,
        session: &mut Session,
        instance: &Arc<LiveRoom>,
        event: EventIndex,
        origin: EventOrigin,
        id: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        let connection = Arc::clone(session.connection()?);
        let room = &instance.room;
        check_sender(room, event)?;
        let (data, key, meta) = (self.data.get(), self.checked_key()?, self.checked_meta()?);
        let meta = session.engine.traces.inject(&origin.span, meta);
        if let Some(key) = &session.rate_limit_key {
            session.engine.limiter.event(key, room.index).await?;
        }
        let any_room =
            room.index.entry_of(&session.engine.any_rooms).ok_or_else(|| not_found(&instance.id))?;
        if session.engine.hooks.is_none() && !session.engine.pushes(room) {
            // Before the event is encoded, so that nothing is held while this waits.
            if instance.wait_for_inbox().await? && connection.room(&instance.id).is_none() {
                return Err(not_in_room());
            }
            if let Some(encoded) = any_room.encode_without_middleware(event, data) {
                // Does not wait for the append: the room sends the `ok`, and the next frame is handled in the meantime.
                let EncodedEvent { data, conflation_key: conflated } = encoded?;
                let publish = PublishRequest {
                    event,
                    data,
                    conflated,
                    from: Arc::clone(&connection.user_id),
                    server: false,
                    meta,
                    key: key.map(|key| scoped(KeyScope::User, key)),
                    event_id: None,
                    origin,
                    sender_outbox: None,
                    reply: PublishReply::Frame(Arc::clone(&session.outbox), id.map(|id| id.get().into())),
                };
                return instance.push(RoomCommand::Publish(publish)).map_err(|_| busy(&instance.id));
            }
        }
        let trigger = Box::new(Trigger {
            registry: Arc::clone(&session.engine.registry),
            room: Arc::clone(room),
            room_id: Arc::clone(&instance.id),
            event,
            from: Arc::clone(&connection.user_id),
            user: Some(connection.user()),
            rate_limit_key: session.rate_limit_key.clone(),
            limiter: Arc::clone(&session.engine.limiter),
            is_server: false,
            maker: Some(session.engine.maker(&connection.user_id, session.address)),
            meta,
            idempotency_key: key,
            // Also for an anonymous user: a WebSocket has received the token of its id, and can keep the id.
            key_scope: KeyScope::User,
            origin,
            recipient: None,
            recipient_count: None,
            push: session.engine.push.clone(),
            connection: Some(Arc::clone(&connection)),
            is_submitted: Arc::default(),
        });
        let span = trigger.origin.span.clone();
        session.is_submitted = Some(Arc::clone(&trigger.is_submitted));
        let accepted =
            session.engine.trigger(connection.actor(), any_room, data, trigger).instrument(span).await?;
        if let Some(id) = id {
            session.outbox.send(&accepted.encode(Some(id)));
        }
        Ok(())
    }

    /// Returns the idempotency key.
    pub(super) fn checked_key(&self) -> Result<Option<Box<str>>, Refusal> {
        match &self.key {
            Some(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => {
                Err(invalid("`key` is a string of 1 to 128 bytes"))
            }
            key => Ok(key.as_ref().map(|key| Box::from(&**key))),
        }
    }

    /// Returns `meta` as compact JSON.
    pub(super) fn checked_meta(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(meta) = self.meta.as_ref().map(request::Raw::get) else { return Ok(None) };
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
}
