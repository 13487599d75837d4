//! The last step into a room's log.

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

use super::{
    limits::{Limiter, Subject},
    middleware::{Cx, Flow},
};
use crate::{
    Accepted, Code, Refusal, Room,
    hub::{
        ConnectionHandle, NodeRequest, Opener, PublishReply, PublishRequest, Registry, RoomCore, RoomSpec,
        TargetedEvent, not_in_room, revoked,
    },
    identity::{User, expired},
    observe::EventOrigin,
    push::{PushDispatcher, PushOffer},
    store::{KeyScope, scoped},
};

/// An event as it goes into the log.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The payload as JSON.
    pub(crate) data: String,
    /// Of an event that newer ones take the place of.
    pub(crate) conflated: Option<String>,
}

/// One user, who alone is to get an event.
#[derive(Debug)]
pub(crate) struct Recipient {
    pub(crate) user: Arc<str>,
    /// The user's connections to this instance.
    pub(crate) whisper: TargetedEvent,
}

/// Everything of an event but its payload: in a box, since every step of a chain passes it on.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) registry: Arc<Registry>,
    pub(crate) room: Arc<RoomSpec>,
    pub(crate) room_id: Arc<str>,
    pub(crate) event: u8,
    pub(crate) from: Arc<str>,
    /// The user that sends it; server code is none.
    pub(crate) user: Option<User>,
    /// Whom limits count; they don't apply to server code.
    pub(crate) subject: Option<Subject>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) server: bool,
    /// The client for whom the room is made, if there is none yet.
    pub(crate) maker: Option<Opener>,
    pub(crate) meta: Option<Box<str>>,
    pub(crate) key: Option<Box<str>>,
    /// The kind of caller that the key belongs to.
    pub(crate) key_scope: KeyScope,
    /// Only these are to get it, past the log.
    pub(crate) to: Option<Recipient>,
    /// Where to put how many readers it was handed to.
    pub(crate) recipients: Option<Arc<AtomicUsize>>,
    pub(crate) origin: EventOrigin,
    /// Who tells those that are away.
    pub(crate) push: Option<Arc<PushDispatcher>>,
    /// The connection that sends it, if it is one.
    pub(crate) link: Option<Arc<ConnectionHandle>>,
    /// Set once the event is with the log: from then on its way is finished even without its sender.
    pub(crate) at_log: Arc<AtomicBool>,
}

impl Recipient {
    /// Hands the event to the user's connections in the room, here and at other instances; yields to how many.
    async fn hand(
        self,
        registry: &Arc<Registry>,
        room: &Arc<RoomSpec>,
        room_id: &Arc<str>,
        publish: PublishRequest,
    ) -> Result<usize, Refusal> {
        let Recipient { user, whisper } = self;
        let question = registry.cluster().map(|_| NodeRequest::SendToUser {
            room_id: (**room_id).into(),
            user: (*user).into(),
            event: room.event_name(publish.event).into(),
            event_id: whisper.event_id.as_str().into(),
            timestamp: whisper.timestamp,
            data: publish.data.clone(),
            from: (*publish.from).into(),
            server: publish.server,
            meta: publish.meta.clone(),
        });
        let (event, source) = (publish.event, publish.origin.source);
        let here = move |state: &mut RoomCore| {
            (state.deliver_targeted(publish, &whisper), state.nodes_of_user(&user))
        };
        let (readers, elsewhere) = registry.run(room, room_id, here).await?;
        let (Some(peers), Some(question)) = (registry.cluster(), question) else {
            room.meter.accepted(event, source);
            return Ok(readers);
        };
        let answers = peers.request(room_id, question, elsewhere).await.map_err(|error| {
            tracing::debug!(%room_id, %error, "an event for a user can't be handed to other instances");
            unreachable(room_id)
        })?;
        room.meter.accepted(event, source);
        Ok(readers + answers.iter().map(|answer| answer.count).sum::<usize>())
    }
}

fn unreachable(room_id: &str) -> Refusal {
    let message =
        format!("another instance, at which the user is in room `{room_id}`, can't be reached; try again");
    Refusal::new(Code::Unavailable, message)
}

impl Post {
    /// Puts it there, and waits until it is accepted; or delivered, if somebody wants to know to how many.
    ///
    /// # Errors
    ///
    /// Among others, those of a sender that may no longer send: its token expired or it was removed while middleware
    /// had the event.
    pub(crate) async fn put(mut self: Box<Self>, prepared: Prepared) -> Flow {
        self.check_sender()?;
        self.at_log.store(true, Ordering::Relaxed);
        // What is for some connections alone is for nobody who is away.
        let push = self.push.take().filter(|_| self.to.is_none());
        let offer = match push {
            Some(push) => push.offer(&self.room, &self.room_id, self.event, &self.from, &prepared.data).await,
            None => None,
        };
        self.put_into_room(prepared, offer).await
    }

    /// Refuses an event whose sender may no longer put anything into the room.
    fn check_sender(&self) -> Result<(), Refusal> {
        match (&self.link, &self.user) {
            (Some(link), _) if link.outbox.is_revoked() => Err(revoked()),
            (Some(link), _) if link.is_expired() => Err(expired()),
            (Some(link), _) if link.room(&self.room_id).is_none() => Err(not_in_room()),
            (None, Some(user)) if user.is_expired() => Err(expired()),
            _ => Ok(()),
        }
    }

    async fn put_into_room(self: Box<Self>, prepared: Prepared, offer: Option<PushOffer>) -> Flow {
        let Post {
            registry,
            room,
            room_id,
            event,
            from,
            server,
            maker,
            meta,
            key,
            key_scope,
            origin,
            to,
            recipients,
            link,
            ..
        } = *self;
        let key = key.map(|key| scoped(key_scope, key));
        let Prepared { data, conflated } = prepared;
        let event_id = offer.as_ref().map(|offer| offer.event_id());
        let by = link.map(|link| Arc::clone(&link.outbox));
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
            sender_outbox: by,
            reply,
        };
        if let Some(to) = to {
            let accepted = to.whisper.accepted();
            let readers = to.hand(&registry, &room, &room_id, publish(PublishReply::None)).await?;
            recipients.inspect(|recipients| recipients.store(readers, Ordering::Relaxed));
            return Ok(accepted);
        }
        let Some(recipients) = recipients else {
            let (sender, receiver) = oneshot::channel();
            registry
                .publish(&room, &room_id, publish(PublishReply::Accepted(sender)), maker.as_ref())
                .await?;
            let outcome = Outcome { receiver, accepted: |accepted: &Accepted| accepted };
            return Settling::new(outcome, offer, registry).await;
        };
        let (sender, receiver) = oneshot::channel();
        registry.publish(&room, &room_id, publish(PublishReply::Delivered(sender)), maker.as_ref()).await?;
        let outcome = Outcome { receiver, accepted: |(accepted, _): &(Accepted, usize)| accepted };
        let (accepted, readers) = Settling::new(outcome, offer, registry).await?;
        recipients.store(readers, Ordering::Relaxed);
        Ok(accepted)
    }

    /// What middleware sees of it.
    ///
    /// # Errors
    ///
    /// `JOIN_DENIED`, to a member whose newer token no longer tells of what the room asks for.
    pub(super) fn cx<R: Room>(&self, key: R::Key) -> Result<Cx<R>, Refusal> {
        let identity = match &self.user {
            Some(user) => self.room.asked.of_user(user, self.room.name)?,
            None => None,
        };
        Ok(Cx {
            key,
            room_id: Arc::clone(&self.room_id),
            from: Arc::clone(&self.from),
            user: self.user.clone(),
            identity,
            server: self.server,
            subject: self.subject.clone(),
            limiter: Arc::clone(&self.limiter),
            idempotency_key: self.key.clone(),
            at_log: Arc::clone(&self.at_log),
        })
    }

    /// The text of the instance's key.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.room_id.split_once(':').map(|(_, key)| key)
    }
}

/// The room's answer about an event that it has: `T`, which holds the acceptance.
struct Outcome<T> {
    receiver: oneshot::Receiver<Result<T, Refusal>>,
    accepted: fn(&T) -> &Accepted,
}

impl<T> Future for Outcome<T> {
    type Output = Result<T, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.receiver).poll(cx));
        Poll::Ready(outcome.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error"))))
    }
}

/// Waits for the room's answer about an event, and has the event pushed once it is accepted.
///
/// If this is dropped before, as middleware with a timeout of its own does, the event is pushed all the same: a task
/// waits on, which ends as the room answers. There are no more of those than events that may wait to be pushed.
struct Settling<T: Send + 'static> {
    outcome: Option<Outcome<T>>,
    offer: Option<PushOffer>,
    registry: Arc<Registry>,
}

impl<T: Send + 'static> Settling<T> {
    fn new(outcome: Outcome<T>, offer: Option<PushOffer>, registry: Arc<Registry>) -> Self {
        Settling { outcome: Some(outcome), offer, registry }
    }
}

impl<T: Send + 'static> Future for Settling<T> {
    type Output = Result<T, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(outcome) = &mut this.outcome else { return Poll::Pending };
        let said = ready!(Pin::new(&mut *outcome).poll(cx));
        let accepted = outcome.accepted;
        this.outcome = None;
        if let (Ok(said), Some(offer)) = (&said, this.offer.take()) {
            offer.accepted(accepted(said));
        }
        Poll::Ready(said)
    }
}

impl<T: Send + 'static> Drop for Settling<T> {
    fn drop(&mut self) {
        if let (Some(outcome), Some(offer)) = (self.outcome.take(), self.offer.take()) {
            let accepted = outcome.accepted;
            self.registry.spawn(async move {
                if let Ok(said) = outcome.await {
                    offer.accepted(accepted(&said));
                }
            });
        }
    }
}
