//! The events of a room with their middleware: one [`EventIngest`] per event decodes it and runs its middleware stack.
//!
//! `rooms!` implements [`ServerRoom`], [`MiddlewareFromState`] and [`RoomIngest`] for each room type. The engine holds
//! the rooms as [`AnyRoom`] trait objects; everything below that boundary is statically dispatched.

use std::{any::Any, borrow::Cow, cell::Cell, fmt, future::Future, io, pin::Pin, sync::Arc};

use serde::de::DeserializeOwned;

use super::trigger::{EncodedEvent, Trigger};
use crate::{
    Code, Event, Refusal, Room,
    catch_panic::catch_panic,
    middleware::{Cx, Flow, MiddlewareStack, Next, RunStack},
    room::{EventOf, Key, ServerRoom},
    wire::{Detail, EventIndex, json},
};

/// A room whose middleware can be constructed from the application's state `S`. `rooms!` implements it.
pub trait MiddlewareFromState<S>: ServerRoom {
    /// Constructs the room's middleware values.
    fn middleware_from_state(state: &S) -> Self::Middleware;
}

/// A room whose events can all pass through the server's middleware `L`. `rooms!` implements it.
pub trait RoomIngest<L: Send + Sync + 'static>: ServerRoom {
    /// The ingest functions of each of [`Room::EVENTS`], in the same order.
    const EVENT_INGESTS: &'static [EventIngest<Self, L>];
}

/// The ingest functions of one event of a room: a row of [`RoomIngest::EVENT_INGESTS`].
pub struct EventIngest<R: ServerRoom, L> {
    encode: fn(&RoomWithMiddleware<R, L>, &str) -> DirectEncoding,
    ingest_json: IngestJson<R, L>,
    ingest_event: IngestEvent<R, L>,
}

type IngestJson<R, L> = for<'a> fn(&'a RoomWithMiddleware<R, L>, Cx<R>, &'a str, Box<Trigger>) -> BoxFlow<'a>;
type IngestEvent<R, L> =
    for<'a> fn(&'a RoomWithMiddleware<R, L>, Cx<R>, &'a mut ErasedEvent, Box<Trigger>) -> BoxFlow<'a>;

/// The encoded event; `None` for an event that has middleware.
type DirectEncoding = Option<Result<EncodedEvent, Refusal>>;

/// An event of server code without its type: an `Option<E>`, which is taken once.
pub(crate) type ErasedEvent = dyn Any + Send;

pub(crate) type BoxFlow<'a> = Pin<Box<dyn Future<Output = Flow> + Send + 'a>>;

impl<R: ServerRoom, L: Send + Sync + 'static> EventIngest<R, L> {
    /// Returns the ingest functions of event `E`.
    pub const fn of<E: EventOf<R>>() -> Self
    where
        L: MiddlewareStack<R, E>,
    {
        EventIngest {
            encode: encode_without_middleware::<R, E, L>,
            ingest_json: |room, cx, json, trigger| {
                Box::pin(refuse_on_panic(ingest_json::<R, E, L>(room, cx, json, trigger)))
            },
            ingest_event: |room, cx, event, trigger| {
                Box::pin(refuse_on_panic(ingest_event::<R, E, L>(room, cx, event, trigger)))
            },
        }
    }
}

/// Turns a panic of middleware into an `INTERNAL` refusal of the one event.
async fn refuse_on_panic(flow: impl Future<Output = Flow>) -> Flow {
    let panicked = || Err(Refusal::new(Code::Internal, "internal error"));
    catch_panic("middleware", flow).await.unwrap_or_else(panicked)
}

impl<R: ServerRoom, L> fmt::Debug for EventIngest<R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventIngest")
    }
}

/// A room without its type. Only an event that has middleware, or that comes from server code, is boxed here; others
/// take the path through [`encode_without_middleware`](Self::encode_without_middleware).
pub(crate) trait AnyRoom: Send + Sync {
    /// Returns whether `text` is the canonical text of a key of this room.
    fn is_key(&self, text: Option<&str>) -> bool;

    /// Decodes, validates and encodes an event without boxing; `None` if the event has middleware.
    fn encode_without_middleware(&self, event: EventIndex, json: &str) -> DirectEncoding;

    /// Decodes and validates an event, runs its middleware stack and publishes it.
    fn ingest_json<'a>(&'a self, json: &'a str, trigger: Box<Trigger>) -> BoxFlow<'a>;

    /// Does the same for an event of server code, which is already decoded.
    fn ingest_event<'a>(&'a self, event: &'a mut ErasedEvent, trigger: Box<Trigger>) -> BoxFlow<'a>;
}

/// The middleware values of a room, inside of those of the server: the implementation of [`AnyRoom`].
struct RoomWithMiddleware<R: ServerRoom, L> {
    middleware: R::Middleware,
    server_middleware: Arc<L>,
}

impl<R: RoomIngest<L>, L: Send + Sync + 'static> RoomWithMiddleware<R, L> {
    fn dispatch<'a>(
        &'a self,
        trigger: Box<Trigger>,
        ingest: impl FnOnce(&EventIngest<R, L>, Cx<R>, Box<Trigger>) -> BoxFlow<'a>,
    ) -> BoxFlow<'a> {
        let refused = |refusal| -> BoxFlow<'a> { Box::pin(std::future::ready(Err(refusal))) };
        match (trigger.event.entry_of(R::EVENT_INGESTS), R::Key::from_text(trigger.key_text())) {
            (Some(event), Some(key)) => match trigger.cx(key) {
                Ok(cx) => ingest(event, cx, trigger),
                Err(refusal) => refused(refusal),
            },
            _ => refused(crate::hub::not_found(&trigger.room_id)),
        }
    }
}

impl<R: RoomIngest<L>, L: Send + Sync + 'static> AnyRoom for RoomWithMiddleware<R, L> {
    fn is_key(&self, text: Option<&str>) -> bool {
        R::Key::from_text(text).is_some()
    }

    fn encode_without_middleware(&self, event: EventIndex, json: &str) -> DirectEncoding {
        event.entry_of(R::EVENT_INGESTS).and_then(|event| (event.encode)(self, json))
    }

    fn ingest_json<'a>(&'a self, json: &'a str, trigger: Box<Trigger>) -> BoxFlow<'a> {
        self.dispatch(trigger, |event, cx, trigger| (event.ingest_json)(self, cx, json, trigger))
    }

    fn ingest_event<'a>(&'a self, erased: &'a mut ErasedEvent, trigger: Box<Trigger>) -> BoxFlow<'a> {
        self.dispatch(trigger, |event, cx, trigger| (event.ingest_event)(self, cx, erased, trigger))
    }
}

/// The end of every middleware stack: encodes the event and publishes it.
struct PublishEvent(Box<Trigger>);

impl<R: Room, E: Event> Next<R, E> for PublishEvent {
    async fn run(self, _: &Cx<R>, event: E) -> Flow {
        self.0.publish(encode(&event)?).await
    }
}

fn encode_without_middleware<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
    json: &str,
) -> DirectEncoding {
    fn is_empty<R: Room, E, C: MiddlewareStack<R, E>>(_: &C) -> bool {
        C::IS_EMPTY
    }
    (L::IS_EMPTY && is_empty(&E::middleware_stack(&room.middleware)))
        .then(|| decode::<E>(json).and_then(|event| encode(&event)))
}

async fn ingest_json<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
    cx: Cx<R>,
    json: &str,
    trigger: Box<Trigger>,
) -> Flow {
    run_middleware(room, &cx, decode::<E>(json)?, trigger).await
}

async fn ingest_event<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
    cx: Cx<R>,
    erased: &mut ErasedEvent,
    trigger: Box<Trigger>,
) -> Flow {
    let Some(event) = erased.downcast_mut::<Option<E>>().and_then(Option::take) else {
        tracing::error!(event = E::NAME, "an event of server code has another type than its row of the room");
        return Err(Refusal::new(Code::Internal, "internal error"));
    };
    event.check().map_err(Refusal::invalid_fields)?;
    run_middleware(room, &cx, event, trigger).await
}

/// Runs the server's middleware, then the room's, then the event's, and publishes the event.
async fn run_middleware<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
    cx: &Cx<R>,
    event: E,
    trigger: Box<Trigger>,
) -> Flow {
    let stack = E::middleware_stack(&room.middleware);
    let next = RunStack { stack: &stack, end: PublishEvent(trigger) };
    room.server_middleware.run(cx, event, next).await
}

fn decode<E: Event>(text: &str) -> Result<E, Refusal> {
    // serde would also accept an array of a struct's fields.
    if E::IS_OBJECT && !text.trim_start().starts_with('{') {
        let message = "an object is expected".to_owned();
        return Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message }]));
    }
    let event: E = match serde_json::from_str(text) {
        Ok(event) => event,
        Err(_) => {
            // serde's derives refuse a duplicate field; by the protocol, the last one counts.
            let json = json::last_of_each(text).map_or(Cow::Borrowed(text), Cow::Owned);
            serde_json::from_str(&json).map_err(|_| decode_refusal::<E>(&json))?
        }
    };
    event.check().map_err(Refusal::invalid_fields)?;
    Ok(event)
}

/// Encodes the fields that the event's type has; unknown fields of the received payload are dropped by this.
fn encode<E: Event>(event: &E) -> Result<EncodedEvent, Refusal> {
    let encoded = if E::READS_BACK { Ok(serde_json::to_string(event)) } else { encode_readable(event) };
    let data = encoded?.map_err(|error| {
        tracing::error!(event = E::NAME, %error, "an event can't be encoded as JSON");
        Refusal::new(Code::Internal, "internal error")
    })?;
    Ok(EncodedEvent { data, conflation_key: event.conflation_key() })
}

/// Encodes an event of a type that may not decode its own encoding, and refuses it if it doesn't: no subscriber could
/// decode such an event from the log.
fn encode_readable<E: Event>(event: &E) -> Result<serde_json::Result<String>, Refusal> {
    /// Writes raw JSON fragments on one line, and records that there was one.
    struct Compact<'a>(&'a Cell<bool>);

    impl serde_json::ser::Formatter for Compact<'_> {
        fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, raw: &str) -> io::Result<()> {
            self.0.set(true);
            out.write_all(json::compact(raw).as_bytes())
        }
    }

    let (has_raw, mut data) = (Cell::new(false), Vec::with_capacity(128));
    let mut serializer = serde_json::Serializer::with_formatter(&mut data, Compact(&has_raw));
    if let Err(error) = event.serialize(&mut serializer) {
        return Ok(Err(error));
    }
    let Ok(data) = String::from_utf8(data) else {
        return Err(Refusal::new(Code::Internal, "internal error"));
    };
    if serde_json::from_str::<E>(&data).is_err() {
        return Err(decode_refusal::<E>(&data));
    }
    // A raw JSON value decodes as itself even where other JSON parsers refuse it.
    match has_raw.get().then(|| json::unreadable(&data)).flatten() {
        Some(why) => {
            Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message: why.to_owned() }]))
        }
        None => Ok(Ok(data)),
    }
}

/// Returns the refusal of JSON that can't be decoded as `E`. Decodes it once more, with path tracking, which is slower,
/// to name the field (as a JSON Pointer, RFC 6901).
fn decode_refusal<E: DeserializeOwned>(json: &str) -> Refusal {
    let mut reader = serde_json::Deserializer::from_str(json);
    let Err(error) = serde_path_to_error::deserialize::<_, E>(&mut reader) else {
        return Refusal::new(Code::InvalidRequest, "`data` is not one JSON value");
    };
    let mut path = String::new();
    for segment in error.path() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Map { key } => path.extend(["/", &key.replace('~', "~0").replace('/', "~1")]),
            Segment::Seq { index } => path.extend(["/", &index.to_string()]),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    // The line and column of serde_json's text are dropped: the path is more useful.
    let text = error.inner().to_string();
    let message = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text).to_owned();
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        path.extend(["/", missing]);
    }
    Refusal::invalid_fields(vec![Detail { path, message }])
}

/// Constructs a room's middleware, and erases the room's type.
pub(crate) fn build_room<R, S, L>(state: &S, server_middleware: &Arc<L>) -> Arc<dyn AnyRoom>
where
    R: MiddlewareFromState<S> + RoomIngest<L>,
    L: Send + Sync + 'static,
{
    let middleware = R::middleware_from_state(state);
    Arc::new(RoomWithMiddleware::<R, L> { middleware, server_middleware: Arc::clone(server_middleware) })
}
