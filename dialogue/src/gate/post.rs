//! The last step into a room's log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::{
    limits::{Limiter, Subject},
    middleware::{Cx, Flow},
};
use crate::{
    Code, Refusal, Room,
    hub::{Publish, Question, Registry, Reply, RoomDecl, State, Whisper},
    identity::User,
    observe::Origin,
    push::Dispatch,
    wire::Id,
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
    pub(crate) whisper: Whisper,
}

/// Everything of an event but its payload: in a box, since every step of a chain passes it on.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) registry: Arc<Registry>,
    pub(crate) room: Arc<RoomDecl>,
    pub(crate) room_id: Arc<str>,
    pub(crate) event: u8,
    pub(crate) from: Arc<str>,
    /// The user that sends it; server code is none.
    pub(crate) user: Option<User>,
    /// Whom limits count; they don't apply to server code.
    pub(crate) subject: Option<Subject>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) server: bool,
    pub(crate) meta: Option<Box<str>>,
    pub(crate) key: Option<Box<str>>,
    /// Only these are to get it, past the log.
    pub(crate) to: Option<Recipient>,
    /// Where to put how many readers it was handed to.
    pub(crate) recipients: Option<Arc<AtomicUsize>>,
    pub(crate) origin: Origin,
    /// Who tells those that are away.
    pub(crate) push: Option<Arc<Dispatch>>,
}

impl Recipient {
    /// Hands the event to the user's connections in the room, here and at other instances; yields to how many.
    async fn hand(
        self,
        registry: &Arc<Registry>,
        room: &Arc<RoomDecl>,
        room_id: &Arc<str>,
        publish: Publish,
    ) -> Result<usize, Refusal> {
        let Recipient { user, whisper } = self;
        let question = registry.peers().map(|_| Question::Whisper {
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
        let here = move |state: &mut State| (state.whisper(publish, &whisper), state.peers_of(&user));
        let (readers, elsewhere) = registry.run(room, room_id, here).await?;
        let (Some(peers), Some(question)) = (registry.peers(), question) else {
            room.meter.accepted(event, source);
            return Ok(readers);
        };
        let answers = peers.ask(room_id, question, elsewhere).await.map_err(|error| {
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
    pub(crate) async fn put(mut self: Box<Self>, prepared: Prepared) -> Flow {
        // What is for some connections alone is for nobody who is away.
        let push = self.push.take().filter(|_| self.to.is_none());
        let offer = match push {
            Some(push) => push.offer(&self.room, &self.room_id, self.event, &self.from, &prepared.data).await,
            None => None,
        };
        let event_id = offer.as_ref().map(|offer| offer.event_id());
        let accepted = self.put_into_room(prepared, event_id).await?;
        if let Some(offer) = offer {
            offer.accepted(&accepted);
        }
        Ok(accepted)
    }

    async fn put_into_room(self: Box<Self>, prepared: Prepared, event_id: Option<Id>) -> Flow {
        let Post { registry, room, room_id, event, from, server, meta, key, origin, to, recipients, .. } =
            *self;
        let Prepared { data, conflated } = prepared;
        let publish =
            |reply| Publish { event, data, conflated, from, server, meta, key, event_id, origin, reply };
        let gone = || Err(Refusal::new(Code::Internal, "internal error"));
        if let Some(to) = to {
            let accepted = to.whisper.accepted();
            let readers = to.hand(&registry, &room, &room_id, publish(Reply::None)).await?;
            recipients.inspect(|recipients| recipients.store(readers, Ordering::Relaxed));
            return Ok(accepted);
        }
        let Some(recipients) = recipients else {
            let (sender, receiver) = oneshot::channel();
            registry.publish(&room, &room_id, publish(Reply::Wait(sender))).await?;
            return receiver.await.unwrap_or_else(|_| gone());
        };
        let (sender, receiver) = oneshot::channel();
        registry.publish(&room, &room_id, publish(Reply::Delivered(sender))).await?;
        let (accepted, readers) = receiver.await.unwrap_or_else(|_| gone().map(|accepted| (accepted, 0)))?;
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
            at_log: AtomicBool::new(false),
        })
    }

    /// The text of the instance's key.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.room_id.split_once(':').map(|(_, key)| key)
    }
}
