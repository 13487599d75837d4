//! Ingest: the path of an event into a room's log.
//!
//! An entry (a socket, an HTTP request, server code) creates a [`Trigger`], and [`Ingest::trigger`] does all that comes
//! between it and the room: membership, the sender, rate limits, hooks, decoding, validation, middleware, the offer to
//! push, and the append. There is no other way in.

mod codec;
mod completion;
mod detached;
mod in_flight;
mod push_on_accept;
mod room;
mod state;
mod trigger;

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
};

use codec::EncodedEvent;
use completion::CompletedOnDrop;
pub(crate) use detached::DetachedIngests;
use in_flight::EventInFlight;
pub(crate) use room::{AnyRoom, build_room};
pub use room::{EventIngest, MiddlewareFromState, RoomIngest};
pub(crate) use state::Ingest;
use tokio::sync::oneshot;
use tracing::Instrument;
pub(crate) use trigger::{Payload, Trigger, TriggerFields, TriggerSender};

use crate::{
    Code, Refusal,
    hooks::{RoomRef, UntypedCaller},
    live::{NewEvent, PublishOutcome, PublishReply, PublishRequest, RoomCommand, RoomSpec, busy, not_found},
    room::Channel,
};

impl Ingest {
    /// Ingests an event, and waits for its outcome.
    ///
    /// # Errors
    ///
    /// The refusal of the event.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before the event is handed to its room, the event is discarded. After that, it is
    /// accepted, and the code of hooks and middleware behind it still runs.
    pub(crate) async fn trigger(self: &Arc<Self>, mut trigger: Trigger<'_>) -> PublishOutcome {
        let (reply, outcome) = oneshot::channel();
        trigger.reply = PublishReply::Accepted(reply);
        self.trigger_with_reply(&mut trigger).await?;
        let outcome = outcome.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error")));
        outcome.inspect_err(|refusal| trigger.note_refusal(refusal))
    }

    /// Ingests an event. Its `reply` receives the acceptance; or, if this has returned before the room decided, the
    /// outcome.
    ///
    /// # Errors
    ///
    /// The refusal of the event, in which case `reply` receives nothing.
    ///
    /// # Cancel safety
    ///
    /// As [`trigger`](Self::trigger).
    pub(crate) async fn trigger_with_reply(
        self: &Arc<Self>,
        trigger: &mut Trigger<'_>,
    ) -> Result<(), Refusal> {
        let ingested = self.ingest(trigger).await;
        ingested.inspect_err(|refusal| trigger.note_refusal(refusal))
    }

    /// The path of every event, from top to bottom. What the event needs is taken out of the trigger where it is used:
    /// every connection has the memory of this future.
    async fn ingest(self: &Arc<Self>, trigger: &mut Trigger<'_>) -> Result<(), Refusal> {
        let Trigger { room, room_id, event, ref sender, ref mut fields, ref origin, ref mut reply } =
            *trigger;

        // The membership. A connection shows the room instance that it is in.
        if let TriggerSender::User { user, .. } = sender {
            let caller = UntypedCaller { user: (*user).clone(), client_id: None };
            let joining = self.access.may_join(&caller, room, room_id).instrument(origin.span.clone());
            // Boxed here and below, so that a connection's future is not larger for what its events don't need.
            Box::pin(joining).await?;
        }

        // The sender, and then the fields.
        sender.check_event(room, event)?;
        let fields = fields.as_mut().map_err(|refusal| (**refusal).clone())?;

        // The room's rate limit.
        if let Some(key) = sender.rate_limit_key() {
            self.limiter.event(key, room.index).await?;
        }

        let any_room = room.index.entry_of(&self.rooms).ok_or_else(|| not_found(room_id))?;

        // The usual event has neither hooks, push nor middleware: it is decoded, validated and appended.
        if self.hooks.is_none()
            && !self.pushes(room)
            && !any_room.has_middleware(event)
            && sender.recipient().is_none()
        {
            let instance = sender.instance();
            // Before the event is encoded, so that nothing is held while this waits. A request over HTTP has waited for
            // its body.
            let has_waited = match instance {
                Some(instance) => instance.wait_for_inbox().await?,
                None => true,
            };
            if has_waited {
                sender.check_again(room_id)?;
            }
            let EncodedEvent { data, conflation_key } =
                any_room.encode(event, mem::take(&mut fields.payload))?;
            let new_event = NewEvent {
                index: event,
                data,
                conflation_key,
                from: sender.id(),
                server: sender.is_server(),
                meta: room.traces.inject(&origin.span, fields.meta.take()),
                key: fields.key.take().map(|key| sender.key_scope().encode(key)),
                event_id: None,
            };
            let (origin, reply) = (origin.clone(), mem::take(reply));
            let publish = PublishRequest { event: new_event, origin, sender_outbox: None, reply };
            // The room replies. The connection's next frame is handled in the meantime.
            return match instance {
                Some(instance) => instance.push(RoomCommand::Publish(publish)).map_err(|_| busy(room_id)),
                None => {
                    let opener = sender.opener(&self.connection_limiter);
                    Box::pin(self.registry.publish(room, room_id, publish, opener.as_ref())).await
                }
            };
        }

        // Hooks, decoding, validation, middleware, the offer to push, the append, and the rest of middleware and hooks.
        let context = sender.context(room_id, fields.key.take(), &self.limiter);
        let meta = room.traces.inject(&origin.span, fields.meta.take());
        let payload = mem::take(&mut fields.payload).into_owned();
        let span = origin.span.clone();
        let reply = mem::take(reply);
        let in_flight = EventInFlight::new(self, trigger, Arc::clone(&context), meta);
        let hooks = self.hooks.clone().zip(sender.caller());
        let (any_room, spec, event_context) = (Arc::clone(any_room), Arc::clone(room), Arc::clone(&context));
        let work = async move {
            let room = RoomRef { id: &event_context.room_id, name: spec.name };
            let event_name = spec.event_name(event);
            if let Some((hooks, caller)) = &hooks {
                hooks.before_trigger(caller, room, event_name).await?;
            }
            let accepted = match any_room.has_middleware(event) {
                true => any_room.run_middleware(payload, in_flight).await?,
                false => in_flight.publish(any_room.encode(event, payload)?).await?,
            };
            if let Some((hooks, caller)) = &hooks {
                let recipients = event_context.recipients.load(Ordering::Relaxed);
                hooks.after_trigger(caller, room, event_name, &accepted, recipients).await;
            }
            Ok(accepted)
        };
        let wait = room.options.wait.unwrap_or_default();
        let accepted = CompletedOnDrop::new(self, &context.is_submitted, wait, work.instrument(span)).await?;
        reply.send_now(Ok((accepted, context.recipients.load(Ordering::Relaxed))));
        Ok(())
    }

    /// Returns whether events of a room are pushed to members without a connection.
    fn pushes(&self, room: &RoomSpec) -> bool {
        self.push.is_some() && room.channels.contains(&Channel::WebPush)
    }
}
