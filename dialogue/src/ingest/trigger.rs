//! A request to put an event into a room, and the last step of ingest: publishing the encoded event.
//!
//! The session, the HTTP handlers and the server's room handles create one [`Trigger`] per event. The end of the
//! middleware stack calls [`Trigger::publish`], which offers the event to push and hands it to the room instance.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::sync::oneshot;

use crate::{
    Code, Refusal, Room,
    hub::{
        ConnectionHandle, NodeRequest, Opener, PublishReply, PublishRequest, Registry, RoomCore, RoomSpec,
        TargetedEvent, not_in_room, revoked,
    },
    identity::{User, expired},
    limits::{Limiter, RateLimitKey},
    middleware::{Cx, Flow},
    observe::EventOrigin,
    push::{PushDispatcher, PushOffer},
    store::{KeyScope, scoped},
    wire::{Accepted, EventIndex},
};

/// An event as it is written to the log.
#[derive(Debug)]
pub(crate) struct EncodedEvent {
    /// The payload as JSON.
    pub(crate) data: String,
    /// The key of a `latest` event: a newer event with the same key replaces this one.
    pub(crate) conflation_key: Option<String>,
}

/// The one user that a direct event is for. Direct events bypass the log.
#[derive(Debug)]
pub(crate) struct DirectRecipient {
    pub(crate) user_id: Arc<str>,
    /// The event's id and time, and the user's connections on this node.
    pub(crate) direct_event: TargetedEvent,
}

/// A request to put an event into a room: everything but the payload. It is boxed, since every step of the middleware
/// stack passes it on.
#[derive(Debug)]
pub(crate) struct Trigger {
    pub(crate) registry: Arc<Registry>,
    pub(crate) room: Arc<RoomSpec>,
    pub(crate) room_id: Arc<str>,
    /// The index of the event in [`Room::EVENTS`].
    pub(crate) event: EventIndex,
    pub(crate) from: Arc<str>,
    /// The sender; `None` for server code and for the application's backend.
    pub(crate) user: Option<User>,
    /// The key that rate limits count by; `None` if they don't apply.
    pub(crate) rate_limit_key: Option<RateLimitKey>,
    pub(crate) limiter: Arc<Limiter>,
    /// Set for server code, and for requests with a server key.
    pub(crate) is_server: bool,
    /// The client that is charged for the room instance if the event creates it.
    pub(crate) maker: Option<Opener>,
    pub(crate) meta: Option<Box<str>>,
    pub(crate) idempotency_key: Option<Box<str>>,
    /// The kind of caller that the idempotency key belongs to.
    pub(crate) key_scope: KeyScope,
    /// If set, the event is sent to this user's connections only, and is not logged.
    pub(crate) recipient: Option<DirectRecipient>,
    /// If set, receives the number of subscriptions that the event was handed to.
    pub(crate) recipient_count: Option<Arc<AtomicUsize>>,
    pub(crate) origin: EventOrigin,
    /// The dispatcher of push notifications.
    pub(crate) push: Option<Arc<PushDispatcher>>,
    /// The connection that sent the event, if one did.
    pub(crate) connection: Option<Arc<ConnectionHandle>>,
    /// Set once the event is handed to the room: from then on it is carried through, even if its sender is dropped.
    pub(crate) is_submitted: Arc<AtomicBool>,
}

impl DirectRecipient {
    /// Sends the event to the user's connections in the room, on this and on other nodes. Returns their number.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if another node can't be reached.
    async fn send(
        self,
        registry: &Arc<Registry>,
        room: &Arc<RoomSpec>,
        room_id: &Arc<str>,
        publish: PublishRequest,
    ) -> Result<usize, Refusal> {
        let DirectRecipient { user_id, direct_event } = self;
        let request = registry.cluster().map(|_| NodeRequest::SendToUser {
            room_id: (**room_id).into(),
            user: (*user_id).into(),
            event: room.event_name(publish.event).into(),
            event_id: direct_event.event_id.as_str().into(),
            timestamp: direct_event.timestamp,
            data: publish.data.clone(),
            from: (*publish.from).into(),
            server: publish.server,
            meta: publish.meta.clone(),
        });
        let (event, source) = (publish.event, publish.origin.source);
        let send = move |state: &mut RoomCore| {
            (state.deliver_targeted(publish, &direct_event), state.nodes_of_user(&user_id))
        };
        let (recipients, other_nodes) = registry.run(room, room_id, send).await?;
        let (Some(cluster), Some(request)) = (registry.cluster(), request) else {
            room.meter.accepted(event, source);
            return Ok(recipients);
        };
        let responses = cluster.request(room_id, request, other_nodes).await.map_err(|error| {
            tracing::debug!(%room_id, %error, "can't send an event for one user to other nodes");
            unreachable(room_id)
        })?;
        room.meter.accepted(event, source);
        Ok(recipients + responses.iter().map(|response| response.count).sum::<usize>())
    }
}

fn unreachable(room_id: &str) -> Refusal {
    let message =
        format!("another node, on which the user is in room `{room_id}`, can't be reached; try again");
    Refusal::new(Code::Unavailable, message)
}

impl Trigger {
    /// Publishes the event to the room, and waits until it is accepted; or, if
    /// [`recipient_count`](Self::recipient_count) is set, until it is handed to the subscriptions.
    ///
    /// # Errors
    ///
    /// The refusal of the room; and that of a sender whose token expired, or that was removed from the room, while
    /// middleware had the event.
    pub(crate) async fn publish(mut self: Box<Self>, encoded: EncodedEvent) -> Flow {
        self.check_sender()?;
        self.is_submitted.store(true, Ordering::Relaxed);
        // Direct events are for connections only: they are never pushed.
        let push = self.push.take().filter(|_| self.recipient.is_none());
        let offer = match push {
            Some(push) => push.offer(&self.room, &self.room_id, self.event, &self.from, &encoded.data).await,
            None => None,
        };
        self.publish_to_room(encoded, offer).await
    }

    /// Refuses an event whose sender is no longer allowed to send into the room.
    fn check_sender(&self) -> Result<(), Refusal> {
        match (&self.connection, &self.user) {
            (Some(connection), _) if connection.outbox.is_revoked() => Err(revoked()),
            (Some(connection), _) if connection.is_expired() => Err(expired()),
            (Some(connection), _) if connection.room(&self.room_id).is_none() => Err(not_in_room()),
            (None, Some(user)) if user.is_expired() => Err(expired()),
            _ => Ok(()),
        }
    }

    async fn publish_to_room(self: Box<Self>, encoded: EncodedEvent, offer: Option<PushOffer>) -> Flow {
        let Trigger {
            registry,
            room,
            room_id,
            event,
            from,
            is_server: server,
            maker,
            meta,
            idempotency_key,
            key_scope,
            origin,
            recipient,
            recipient_count,
            connection,
            ..
        } = *self;
        let key = idempotency_key.map(|key| scoped(key_scope, key));
        let EncodedEvent { data, conflation_key: conflated } = encoded;
        let event_id = offer.as_ref().map(|offer| offer.event_id());
        let sender_outbox = connection.map(|connection| Arc::clone(&connection.outbox));
        let publish = |reply| PublishRequest {
            event,
            data,
            conflated,
            from,
            server,
            meta,
            key,
            event_id,
            origin,
            sender_outbox,
            reply,
        };
        if let Some(recipient) = recipient {
            let accepted = recipient.direct_event.accepted();
            let count = recipient.send(&registry, &room, &room_id, publish(PublishReply::None)).await?;
            recipient_count.inspect(|recipient_count| recipient_count.store(count, Ordering::Relaxed));
            return Ok(accepted);
        }
        let Some(recipient_count) = recipient_count else {
            let (sender, receiver) = oneshot::channel();
            registry
                .publish(&room, &room_id, publish(PublishReply::Accepted(sender)), maker.as_ref())
                .await?;
            let response = RoomResponse { receiver, accepted: |accepted: &Accepted| accepted };
            return PushOnAccept::new(response, offer, registry).await;
        };
        let (sender, receiver) = oneshot::channel();
        registry.publish(&room, &room_id, publish(PublishReply::Delivered(sender)), maker.as_ref()).await?;
        let response = RoomResponse { receiver, accepted: |(accepted, _): &(Accepted, usize)| accepted };
        let (accepted, count) = PushOnAccept::new(response, offer, registry).await?;
        recipient_count.store(count, Ordering::Relaxed);
        Ok(accepted)
    }

    /// Returns the context that middleware gets for this event.
    ///
    /// # Errors
    ///
    /// `JOIN_DENIED` for a member whose renewed token no longer provides the identity that the room requires.
    pub(super) fn cx<R: Room>(&self, key: R::Key) -> Result<Cx<R>, Refusal> {
        let identity = match &self.user {
            Some(user) => self.room.identity.identity_of(user, self.room.name)?,
            None => None,
        };
        Ok(Cx {
            key,
            room_id: Arc::clone(&self.room_id),
            from: Arc::clone(&self.from),
            user: self.user.clone(),
            identity,
            is_server: self.is_server,
            rate_limit_key: self.rate_limit_key.clone(),
            limiter: Arc::clone(&self.limiter),
            idempotency_key: self.idempotency_key.clone(),
            is_submitted: Arc::clone(&self.is_submitted),
        })
    }

    /// Returns the text of the room instance's key; `None` for a room without a key.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.room_id.split_once(':').map(|(_, key)| key)
    }
}

/// The room's response to a published event. `T` contains the acceptance.
struct RoomResponse<T> {
    receiver: oneshot::Receiver<Result<T, Refusal>>,
    accepted: fn(&T) -> &Accepted,
}

impl<T> Future for RoomResponse<T> {
    type Output = Result<T, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(response.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error"))))
    }
}

/// Waits for the room's response to an event, and pushes the event once it is accepted.
///
/// # Cancel safety
///
/// If this is dropped before (middleware with a timeout of its own does that), the event is pushed all the same: a
/// spawned task waits for the response and ends with it. There are at most as many of these tasks as events that may
/// wait to be pushed.
struct PushOnAccept<T: Send + 'static> {
    response: Option<RoomResponse<T>>,
    offer: Option<PushOffer>,
    registry: Arc<Registry>,
}

impl<T: Send + 'static> PushOnAccept<T> {
    fn new(response: RoomResponse<T>, offer: Option<PushOffer>, registry: Arc<Registry>) -> Self {
        PushOnAccept { response: Some(response), offer, registry }
    }
}

impl<T: Send + 'static> Future for PushOnAccept<T> {
    type Output = Result<T, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(response) = &mut this.response else { return Poll::Pending };
        let result = ready!(Pin::new(&mut *response).poll(cx));
        let accepted = response.accepted;
        this.response = None;
        if let (Ok(value), Some(offer)) = (&result, this.offer.take()) {
            offer.accepted(accepted(value));
        }
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for PushOnAccept<T> {
    fn drop(&mut self) {
        if let (Some(response), Some(offer)) = (self.response.take(), self.offer.take()) {
            let accepted = response.accepted;
            self.registry.spawn(async move {
                if let Ok(value) = response.await {
                    offer.accepted(accepted(&value));
                }
            });
        }
    }
}
