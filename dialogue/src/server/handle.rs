//! The typed handle of a room instance for server code: publishes events, and runs handlers for them.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{Arc, Weak},
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::task::JoinHandle;

use super::Server;
use crate::{
    Delivery, Event, Refusal,
    engine::Engine,
    event::Sending,
    ingest::{Payload, Trigger, TriggerFields, TriggerSender},
    live::{
        ConnectionId, Listener, ListenerReceiver, LiveRoom, PublishOutcome, PublishReply, Registry,
        RoomChange, RoomSpec, not_found,
    },
    log::Record,
    observe::{EventOrigin, Source, spans},
    room::{EventOf, Key, ServerRoom},
    wire::{EventIndex, EventSet},
};

/// A handle of one room instance for server code: `server.chat()`, `server.project(ProjectId(7))`.
#[must_use]
pub struct RoomHandle<R: ServerRoom> {
    engine: Arc<Engine>,
    /// `None` for a key that is invalid in a room id.
    target: Option<RoomTarget>,
    room_id: String,
    room: PhantomData<fn() -> R>,
}

/// The declaration and the id of a room instance.
pub(super) struct RoomTarget {
    pub(super) room: Arc<RoomSpec>,
    pub(super) room_id: Arc<str>,
}

impl<R: ServerRoom> RoomHandle<R> {
    pub(crate) fn new(server: &Server, key: R::Key) -> Self {
        let room_id: Arc<str> = match key.text() {
            Some(text) => format!("{}:{text}", R::NAME).into(),
            None => R::NAME.into(),
        };
        let engine = Arc::clone(&server.engine);
        let room = engine.room(&room_id).map(Arc::clone).ok();
        let target = room.map(|room| RoomTarget { room, room_id: Arc::clone(&room_id) });
        RoomHandle { engine, target, room_id: room_id.to_string(), room: PhantomData }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns the room's declaration and id.
    ///
    /// # Errors
    ///
    /// `ROOM_NOT_FOUND` if the key is invalid in a room id.
    pub(super) fn target(&self) -> Result<&RoomTarget, Refusal> {
        self.target.as_ref().ok_or_else(|| not_found(&self.room_id))
    }

    /// Returns the room's id on the wire: `chat`, `project:7`.
    pub fn id(&self) -> &str {
        &self.room_id
    }

    /// Publishes an event as the server. The event is validated, passes the middleware stack, and is numbered like
    /// those of clients. Rate limits don't apply.
    ///
    /// When the future completes, the event is in the room's log; subscriptions receive it asynchronously.
    ///
    /// # Errors
    ///
    /// [`Code::ValidationFailed`](crate::Code::ValidationFailed), the refusal of a middleware,
    /// [`Code::Unavailable`](crate::Code::Unavailable) while the room's log can't be appended to, and
    /// [`Code::RoomNotFound`](crate::Code::RoomNotFound) for a key whose text is over 128 bytes, holds a control
    /// character or doesn't parse back to the key.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the event may have been published or not. If it was with the room's log by then, the
    /// code of middleware after the append still runs, and the event is pushed.
    pub fn trigger<E: EventOf<R>>(&self, event: E) -> Sending<'_, Refusal> {
        let publish = self.publish(event, None);
        Sending::new(async move { publish.await.map(|(accepted, _)| accepted) })
    }

    /// Sends an event to a user's connections without the log, and returns to how many.
    pub(super) async fn send_to<E: EventOf<R>>(&self, user: &Arc<str>, event: E) -> Result<usize, Refusal> {
        self.publish(event, Some(user)).await.map(|(_, recipients)| recipients)
    }

    async fn publish<E: EventOf<R>>(&self, event: E, recipient: Option<&Arc<str>>) -> PublishOutcome {
        let (RoomTarget { room, room_id }, index) = self.target_of::<E>()?;
        let span = spans::trigger(None, Source::Server, room.name, room_id, room.event_name(index));
        let fields = TriggerFields { payload: Payload::Typed(Box::new(event)), key: None, meta: None };
        let trigger = Trigger {
            room,
            room_id,
            event: index,
            sender: TriggerSender::Server { recipient },
            origin: EventOrigin::now(&room.meter, Source::Server, span),
            fields: Ok(fields),
            reply: PublishReply::None,
        };
        self.engine.ingest.trigger(trigger).await
    }

    /// Runs `handler` for each event of type `E` from now on, one at a time, in a task of its own. On several nodes,
    /// each node that calls this runs its handler for every event.
    ///
    /// A handler that is slower than the room catches up from the log. It misses durable events only if it falls behind
    /// the room's retention (which is logged), and ephemeral ones while over 1,024 events are queued for it. The
    /// handler ends when the room is deleted, when the server is dropped, or with [`ListenerHandle::stop`].
    ///
    /// ```
    /// # use dialogue::Delivery;
    /// #[dialogue::event]
    /// pub struct Message { pub text: String }
    ///
    /// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Acme::server().build().await?;
    /// let (sender, mut texts) = tokio::sync::mpsc::channel(1);
    /// server.chat().on(async move |message: Delivery<Message>| {
    ///     let _ = sender.send(message.event.text).await;
    /// });
    /// server.chat().trigger(Message { text: "welcome".into() }).await?;
    /// assert_eq!(texts.recv().await.as_deref(), Some("welcome"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The type of the closure's argument selects the events: `Delivery<Message>`. A closure that captures its
    /// environment (a handle of the server, a database pool) is written `async move |..|`. The closure is cloned for
    /// each event, so captured values must be [`Clone`], and a captured counter starts again for each event: share
    /// state in an [`Arc`](std::sync::Arc).
    ///
    /// The handler gets the [id](Delivery::from) of an event's sender, and not the typed identity: the event may be an
    /// old one, or come from another node. Code that depends on the identity belongs into
    /// [middleware](crate::Middleware), where [`Cx::identity`](crate::Cx::identity) has it.
    ///
    /// In a room with an invalid key (see the errors of [`trigger`](Self::trigger)) there are no events, and the
    /// handler never runs; that is logged.
    // For a closure that lacks the `move`, rustc's only help is to print the line of `F`'s bound.
    pub fn on<E, F, T>(&self, handler: F) -> ListenerHandle
    where
        E: EventOf<R>,
        F: FnOnce(Delivery<E>) -> T + Clone + Send + 'static, // write `async move |..|` to capture by value
        T: Future<Output = ()> + Send,
    {
        let id = self.engine.connection_id();
        let mut listening = self.target_of::<E>().and_then(|(target, index)| {
            let wanted = EventSet::NONE.with(index);
            let room = (Arc::clone(&target.room), Arc::clone(&target.room_id));
            Ok((room.clone(), wanted, listen(&self.engine.registry, &room, id, wanted)?))
        });
        if let Err(refusal) = &listening {
            tracing::error!(room_id = self.id(), %refusal, "a handler never runs: its room doesn't exist");
        }
        let registry = Arc::downgrade(&self.engine.registry);
        let room = listening.as_ref().map(|((_, room_id), ..)| Arc::clone(room_id)).ok();
        let task = self.engine.registry.spawn(async move {
            while let Ok((room, wanted, (instance, mut records))) = listening {
                while let Some(record) = records.next(&instance).await {
                    if let Some(delivery) = decode::<E>(&record) {
                        let handling = handler.clone()(delivery);
                        handling.await;
                    }
                }
                if instance.upgrade().is_some_and(|instance| instance.is_deleted()) {
                    return;
                }
                // The room instance closed, and another one opens.
                tokio::time::sleep(LISTEN_RETRY_DELAY).await;
                let Some(registry) = registry.upgrade() else { return };
                listening = listen(&registry, &room, id, wanted).map(|listener| (room, wanted, listener));
            }
        });
        ListenerHandle { task, id, room, registry: Arc::downgrade(&self.engine.registry) }
    }

    fn target_of<E: EventOf<R>>(&self) -> Result<(&RoomTarget, EventIndex), Refusal> {
        let target = self.target()?;
        let index = target.room.event(E::NAME).ok_or_else(|| target.room.not_carried(E::NAME))?;
        Ok((target, index))
    }
}

/// The delay before a handler subscribes again to a room whose instance has closed.
const LISTEN_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Subscribes a handler to a room, from now on.
fn listen(
    registry: &Arc<Registry>,
    (room, room_id): &(Arc<RoomSpec>, Arc<str>),
    id: ConnectionId,
    wanted: EventSet,
) -> Result<(Weak<LiveRoom>, ListenerReceiver), Refusal> {
    let (listener, records) = Listener::new(id);
    let instance = registry.push(room, room_id, RoomChange::Listen(listener, wanted))?;
    Ok((Arc::downgrade(&instance), records))
}

/// Decodes an event from its frame. Returns `None`, and logs that, if the payload doesn't decode as its type. An
/// unreadable `meta` is left out.
fn decode<E: Event>(record: &Record) -> Option<Delivery<E>> {
    let decoded = serde_json::from_slice(&record.json);
    decoded
        .or_else(|error| without_meta(&record.json).ok_or(error))
        .inspect_err(
            |error| tracing::error!(event = E::NAME, %error, "can't decode an event from its own JSON"),
        )
        .ok()
}

/// Decodes an event from its frame without `meta`.
fn without_meta<E: Event>(frame: &[u8]) -> Option<Delivery<E>> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_slice(frame).ok()?;
    members.remove("meta")?;
    serde_json::from_str(&serde_json::to_string(&members).ok()?).ok()
}

/// A handler that [`RoomHandle::on`] started. The handler keeps running if this is dropped.
pub struct ListenerHandle {
    task: JoinHandle<()>,
    id: ConnectionId,
    room: Option<Arc<str>>,
    registry: Weak<Registry>,
}

impl ListenerHandle {
    /// Stops the handler at its next `.await`, even within an event.
    pub fn stop(self) {
        self.task.abort();
        let registry = self.registry.upgrade();
        if let Some(instance) = registry.zip(self.room).and_then(|(registry, room)| registry.find(&room)) {
            instance.enqueue(RoomChange::Unlisten(self.id));
        }
    }
}

impl<R: ServerRoom> Clone for RoomHandle<R> {
    fn clone(&self) -> Self {
        let target = self.target.as_ref();
        RoomHandle {
            engine: Arc::clone(&self.engine),
            target: target
                .map(|at| RoomTarget { room: Arc::clone(&at.room), room_id: Arc::clone(&at.room_id) }),
            room_id: self.room_id.clone(),
            room: PhantomData,
        }
    }
}

impl<R: ServerRoom> fmt::Debug for RoomHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("id", &self.room_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
