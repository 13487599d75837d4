//! The server's own end of a room.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::Server;
use crate::{
    Accepted, Delivery, Event, EventOf, Refusal, Sending, ServerRoom,
    engine::Engine,
    gate::{DirectRecipient, Trigger},
    hub::{ConnectionId, Heard, Instance, Listener, Registry, RoomDecl, State, Whisper, not_found},
    log::Record,
    observe::{Origin, Source, refused, spans},
    room::Key,
    store::KeyScope,
    wire::EventSet,
};

/// The server's own end of one room instance: `server.chat()`, `server.project(ProjectId(7))`.
#[must_use]
pub struct RoomHandle<R: ServerRoom> {
    engine: Arc<Engine>,
    /// `None` for a key that can't stand in a room's id.
    place: Option<Place>,
    key: String,
    room: PhantomData<fn() -> R>,
}

pub(super) struct Place {
    pub(super) room: Arc<RoomDecl>,
    pub(super) room_id: Arc<str>,
}

impl<R: ServerRoom> RoomHandle<R> {
    pub(crate) fn new(server: &Server, key: R::Key) -> Self {
        let room_id: Arc<str> = match key.text() {
            Some(text) => format!("{}:{text}", R::NAME).into(),
            None => R::NAME.into(),
        };
        let engine = Arc::clone(&server.engine);
        let room = engine.room(&room_id).map(|(room, _)| Arc::clone(room)).ok();
        let place = room.map(|room| Place { room, room_id: Arc::clone(&room_id) });
        RoomHandle { engine, place, key: room_id.to_string(), room: PhantomData }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn whereabouts(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The room's id on the wire: `chat`, `project:7`.
    pub fn id(&self) -> &str {
        &self.key
    }

    /// Puts an event into the room, as the server: validated, through the server's middleware and the room's, and
    /// numbered like everybody's. Limits don't apply.
    ///
    /// It is accepted when this returns; readers get it at their own pace.
    ///
    /// # Errors
    ///
    /// [`Code::ValidationFailed`](crate::Code::ValidationFailed), what a middleware refuses with,
    /// [`Code::Unavailable`](crate::Code::Unavailable) while the room's log can't take it, and
    /// [`Code::RoomNotFound`](crate::Code::RoomNotFound) for a key whose text is over 128 bytes, holds a control
    /// character or is not what it parses from.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, it is open whether the event was accepted. If it is with the room's log by then, what
    /// middleware does afterwards is done all the same, and the event is pushed.
    pub fn trigger<E: EventOf<R>>(&self, event: E) -> Sending<'_, Refusal> {
        Sending::new(self.put(event, None, None))
    }

    /// Sends an event to a user's connections, past the log; yields to how many.
    pub(super) async fn send_to<E: EventOf<R>>(&self, user: &Arc<str>, event: E) -> Result<usize, Refusal> {
        let recipients = Arc::new(AtomicUsize::new(0));
        let links = self.engine.directory.connections_of(user);
        let whisper = Whisper::new(links.iter().map(|link| link.id()).collect());
        let to = DirectRecipient { user_id: Arc::clone(user), direct_event: whisper };
        self.put(event, Some(to), Some(Arc::clone(&recipients))).await?;
        Ok(recipients.load(Ordering::Relaxed))
    }

    async fn put<E: EventOf<R>>(
        &self,
        event: E,
        to: Option<DirectRecipient>,
        recipients: Option<Arc<AtomicUsize>>,
    ) -> Result<Accepted, Refusal> {
        let (place, index) = self.place_of::<E>()?;
        let Some(gate) = self.engine.gates.get(place.room.index) else {
            return Err(not_found(&place.room_id));
        };
        let about = (place.room.name, &*place.room_id, place.room.event_name(index));
        let span = spans::trigger(None, Source::Server, about);
        let post = Box::new(Trigger {
            registry: Arc::clone(&self.engine.registry),
            room: Arc::clone(&place.room),
            room_id: Arc::clone(&place.room_id),
            event: index,
            from: "system".into(),
            user: None,
            rate_limit_key: None,
            limiter: Arc::clone(&self.engine.limiter),
            is_server: true,
            maker: None,
            meta: self.engine.traces.carry(&span, None),
            idempotency_key: None,
            key_scope: KeyScope::Server,
            origin: Origin::now(&place.room.meter, Source::Server, span.clone()),
            recipient: to,
            recipient_count: recipients,
            push: self.engine.push.clone(),
            connection: None,
            is_submitted: Arc::default(),
        });
        let (gate, wait, at_log) =
            (Arc::clone(gate), place.room.options.wait, Arc::clone(&post.is_submitted));
        let putting = async move {
            let mut event = Some(event);
            gate.ingest_event(&mut event, post).await
        };
        let putting = self.engine.underway(wait, at_log, putting.instrument(span.clone()));
        putting.await.inspect_err(|refusal| {
            place.room.meter.refused(Source::Server, refusal);
            refused(&span, refusal);
        })
    }

    /// Runs `handler` for each event of type `E` from now on, one after the other, on a task of its own. Of several instances,
    /// each that calls this runs its own for every event.
    ///
    /// A handler that is slower than the room reads on from the log: it misses durable events only if it is slower than
    /// the room's retention (which is logged), and ephemeral ones while over 1,024 events wait for it. The handler ends
    /// with the room, with the server, or by [`ListenerHandle::stop`].
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
    /// let (seen, mut sight) = tokio::sync::mpsc::channel(1);
    /// server.chat().on(async move |message: Delivery<Message>| {
    ///     let _ = seen.send(message.event.text).await;
    /// });
    /// server.chat().trigger(Message { text: "welcome".into() }).await?;
    /// assert_eq!(sight.recv().await.as_deref(), Some("welcome"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The type of the closure's argument says which events it handles: `Delivery<Message>`. A closure that uses what is
    /// around it (a handle of the server, a database pool) is written `async move |..|`. It runs as a clone of its own for
    /// each event, so that what it captures is [`Clone`], and a captured number that it counts up begins anew each time:
    /// share state in an [`Arc`](std::sync::Arc).
    ///
    /// The handler is told [who](Delivery::from) an event is from, and not their typed identity: the event may be an old
    /// one, or come from another process, and its sender may be gone. What depends on the identity belongs into
    /// [middleware](crate::Middleware), where [`Cx::identity`](crate::Cx::identity) has it.
    ///
    /// In a room that can't be (see [`trigger`](Self::trigger)'s errors) nothing happens, so that nothing is handled.
    // For a closure that lacks the `move`, rustc's only help is to print the line of `F`'s bound.
    pub fn on<E, F, T>(&self, handler: F) -> ListenerHandle
    where
        E: EventOf<R>,
        F: FnOnce(Delivery<E>) -> T + Clone + Send + 'static, // `async move |..|` takes along what it uses
        T: Future<Output = ()> + Send,
    {
        let id = self.engine.connection_id();
        let mut listening = self.place_of::<E>().and_then(|(place, index)| {
            let wanted = EventSet::NONE.with(index);
            let room = (Arc::clone(&place.room), Arc::clone(&place.room_id));
            Ok((room.clone(), wanted, listen(&self.engine.registry, &room, id, wanted)?))
        });
        if let Err(refusal) = &listening {
            tracing::error!(room_id = self.id(), %refusal, "a handler has nothing to handle");
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
                // The room began again, or could not be opened.
                tokio::time::sleep(AGAIN).await;
                let Some(registry) = registry.upgrade() else { return };
                listening = listen(&registry, &room, id, wanted).map(|heard| (room, wanted, heard));
            }
        });
        ListenerHandle { task, id, room, registry: Arc::downgrade(&self.engine.registry) }
    }

    fn place_of<E: EventOf<R>>(&self) -> Result<(&Place, u8), Refusal> {
        let place = self.place.as_ref().ok_or_else(|| not_found(&self.key))?;
        let index = place.room.event(E::NAME).ok_or_else(|| place.room.not_carried(E::NAME))?;
        Ok((place, index))
    }
}

/// Before a handler listens again.
const AGAIN: Duration = Duration::from_secs(1);

/// Has a room heard out from now on.
fn listen(
    registry: &Arc<Registry>,
    (room, room_id): &(Arc<RoomDecl>, Arc<str>),
    id: ConnectionId,
    wanted: EventSet,
) -> Result<(Weak<Instance>, Heard), Refusal> {
    let (listener, heard) = Listener::new(id);
    let instance = registry.cast(room, room_id, move |state: &mut State| state.listen(listener, wanted))?;
    Ok((Arc::downgrade(&instance), heard))
}

/// `None`, and a line in the program's log, for an event that its type doesn't read. A `meta` that can't be read hides no
/// event, and is left out.
fn decode<E: Event>(record: &Record) -> Option<Delivery<E>> {
    let decoded = serde_json::from_slice(&record.json);
    decoded
        .or_else(|error| without_meta(&record.json).ok_or(error))
        .inspect_err(
            |error| tracing::error!(event = E::NAME, %error, "an event can't be decoded from its own JSON"),
        )
        .ok()
}

/// Reads an event from all of its frame but `meta`.
fn without_meta<E: Event>(frame: &[u8]) -> Option<Delivery<E>> {
    let mut members: BTreeMap<&str, &RawValue> = serde_json::from_slice(frame).ok()?;
    members.remove("meta")?;
    serde_json::from_str(&serde_json::to_string(&members).ok()?).ok()
}

/// A handler that [`RoomHandle::on`] started. Dropping this lets it run on.
pub struct ListenerHandle {
    task: JoinHandle<()>,
    id: ConnectionId,
    room: Option<Arc<str>>,
    registry: Weak<Registry>,
}

impl ListenerHandle {
    /// Ends the handler, in the middle of an event if need be.
    pub fn stop(self) {
        self.task.abort();
        let id = self.id;
        let registry = self.registry.upgrade();
        if let Some(instance) = registry.zip(self.room).and_then(|(registry, room)| registry.find(&room)) {
            instance.cast(move |state| _ = state.leave(id));
        }
    }
}

impl<R: ServerRoom> Clone for RoomHandle<R> {
    fn clone(&self) -> Self {
        let place = self.place.as_ref();
        RoomHandle {
            engine: Arc::clone(&self.engine),
            place: place.map(|at| Place { room: Arc::clone(&at.room), room_id: Arc::clone(&at.room_id) }),
            key: self.key.clone(),
            room: PhantomData,
        }
    }
}

impl<R: ServerRoom> fmt::Debug for RoomHandle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomHandle").field("id", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for ListenerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerHandle").field("id", &self.id).finish_non_exhaustive()
    }
}
