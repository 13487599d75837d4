//! An event on its way through the application's hooks and middleware to its room.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::oneshot;

use super::{
    codec::EncodedEvent,
    push_on_accept::PushOnAccept,
    state::Ingest,
    trigger::{Trigger, check_sender},
};
use crate::{
    Code, Refusal, Room,
    cluster::NodeRequest,
    live::{
        ConnectionHandle, NewEvent, Opener, PublishOutcome, PublishReply, PublishRequest, RoomChange,
        RoomSpec, TargetedEvent, unix_ms,
    },
    middleware::{Cx, EventContext, Flow},
    observe::EventOrigin,
    push::PushOffer,
    store::KeyScope,
    wire::{EventIndex, Id},
};

/// An event with everything but its payload, which the middleware stack passes on to its end: that publishes it. It is
/// boxed, since every step of the stack moves it.
pub(crate) struct EventInFlight {
    ingest: Arc<Ingest>,
    /// The part that middleware sees.
    pub(super) context: Arc<EventContext>,
    room: Arc<RoomSpec>,
    pub(super) event: EventIndex,
    /// The connection that sent the event, if one did.
    connection: Option<Arc<ConnectionHandle>>,
    /// The client that is charged for the room instance if the event opens it.
    opener: Option<Opener>,
    /// If set, the event goes to this user's connections only, and is not logged.
    recipient: Option<Arc<str>>,
    /// Set for an event whose recipients are counted.
    counts_recipients: bool,
    key_scope: KeyScope,
    meta: Option<Box<str>>,
    origin: EventOrigin,
}

impl EventInFlight {
    pub(super) fn new(
        ingest: &Arc<Ingest>,
        trigger: &Trigger<'_>,
        context: Arc<EventContext>,
        meta: Option<Box<str>>,
    ) -> Box<Self> {
        let sender = &trigger.sender;
        Box::new(EventInFlight {
            ingest: Arc::clone(ingest),
            context,
            room: Arc::clone(trigger.room),
            event: trigger.event,
            connection: sender.connection().cloned(),
            opener: sender.opener(&ingest.connection_limiter),
            recipient: sender.recipient().cloned(),
            // For the hook `after_trigger`, which runs for events of users.
            counts_recipients: ingest.hooks.is_some() && !sender.is_server(),
            key_scope: sender.key_scope(),
            meta,
            origin: trigger.origin.clone(),
        })
    }

    /// Publishes the event to its room, and waits until it is accepted; or, if its recipients are counted, until it is
    /// handed to them.
    ///
    /// # Errors
    ///
    /// The refusal of the room; and that of a sender whose token expired, or that was removed from the room, while
    /// middleware had the event.
    pub(super) async fn publish(self: Box<Self>, encoded: EncodedEvent) -> Flow {
        let context = Arc::clone(&self.context);
        check_sender(self.connection.as_ref(), context.user.as_ref(), &context.room_id)?;
        context.is_submitted.store(true, Ordering::Relaxed);
        let (accepted, recipients) = match self.recipient.clone() {
            Some(recipient) => self.send_to(&recipient, encoded).await?,
            None => self.append(encoded).await?,
        };
        context.recipients.store(recipients, Ordering::Relaxed);
        Ok(accepted)
    }

    /// Offers the event to push, appends it to the room's log, and returns its acceptance and the number of
    /// subscriptions on this node that it was handed to; 0 if they are not counted.
    async fn append(self: Box<Self>, encoded: EncodedEvent) -> PublishOutcome {
        let ingest = Arc::clone(&self.ingest);
        let offer = match ingest.push.clone() {
            Some(push) => {
                let EventContext { room_id, from, .. } = &*self.context;
                push.offer(&self.room, room_id, self.event, from, &encoded.data).await
            }
            None => None,
        };
        let (sender, outcome) = oneshot::channel();
        let reply = match self.counts_recipients {
            true => PublishReply::Delivered(sender),
            false => PublishReply::Accepted(sender),
        };
        let (room, context, opener) =
            (Arc::clone(&self.room), Arc::clone(&self.context), self.opener.clone());
        let mut publish = self.into_publish(encoded, reply);
        publish.event.event_id = offer.as_ref().map(PushOffer::event_id);
        ingest.registry.publish(&room, &context.room_id, publish, opener.as_ref()).await?;
        PushOnAccept::new(outcome, offer, &ingest.registry).await
    }

    /// Sends the event to the recipient's connections in the room, on this and on other nodes, without the log. Returns
    /// its acceptance and their number.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another node can't be reached.
    async fn send_to(self: Box<Self>, recipient: &Arc<str>, encoded: EncodedEvent) -> PublishOutcome {
        let (ingest, room, context) =
            (Arc::clone(&self.ingest), Arc::clone(&self.room), Arc::clone(&self.context));
        let (registry, room_id) = (&ingest.registry, &context.room_id);
        let connections = ingest.directory.connections_of(recipient);
        let targeted = TargetedEvent {
            event_id: Id::fresh(),
            timestamp: unix_ms(),
            to: connections.iter().map(|connection| connection.id()).collect(),
        };
        let accepted = targeted.accepted();
        let publish = self.into_publish(encoded, PublishReply::None);
        let request = registry.cluster().map(|_| NodeRequest::SendToUser {
            room_id: (**room_id).into(),
            user: (**recipient).into(),
            event: room.event_name(publish.event.index).into(),
            event_id: targeted.event_id.as_str().into(),
            timestamp: targeted.timestamp,
            data: publish.event.data.clone(),
            from: (*publish.event.from).into(),
            server: publish.event.server,
            meta: publish.event.meta.clone(),
        });
        let (event, source, user) = (publish.event.index, publish.origin.source, Arc::clone(recipient));
        let publish = Box::new(publish);
        let deliver = |reply| RoomChange::DeliverTargeted { publish, targeted, user, reply };
        let (mut recipients, other_nodes) = registry.request(&room, room_id, deliver).await?;
        if let (Some(cluster), Some(request)) = (registry.cluster(), request) {
            let responses = cluster.request(room_id, request, other_nodes).await.map_err(|error| {
                tracing::debug!(%room_id, %error, "can't send an event for one user to other nodes");
                unreachable(room_id)
            })?;
            recipients += responses.iter().map(|response| response.count).sum::<usize>();
        }
        room.meter.accepted(event, source);
        Ok((accepted, recipients))
    }

    fn into_publish(self, encoded: EncodedEvent, reply: PublishReply) -> PublishRequest {
        let EventInFlight { context, event, connection, key_scope, meta, origin, .. } = self;
        let event = NewEvent {
            index: event,
            data: encoded.data,
            conflation_key: encoded.conflation_key,
            from: Arc::clone(&context.from),
            server: context.is_server,
            meta,
            key: context.idempotency_key.clone().map(|key| key_scope.encode(key)),
            event_id: None,
        };
        let sender_outbox = connection.map(|connection| Arc::clone(&connection.outbox));
        PublishRequest { event, origin, sender_outbox, reply }
    }

    /// Returns the context that middleware gets for this event.
    ///
    /// # Errors
    ///
    /// `JOIN_DENIED` for a member whose renewed token no longer provides the identity that the room requires.
    pub(super) fn cx<R: Room>(&self, key: R::Key) -> Result<Cx<R>, Refusal> {
        let identity = match &self.context.user {
            Some(user) => self.room.identity.identity_of(user, self.room.name)?,
            None => None,
        };
        Ok(Cx { key, identity, event: Arc::clone(&self.context) })
    }
}

fn unreachable(room_id: &str) -> Refusal {
    let message =
        format!("another node, on which the user is in room `{room_id}`, can't be reached; try again");
    Refusal::new(Code::Unavailable, message)
}
