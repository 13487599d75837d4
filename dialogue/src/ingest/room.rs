//! The events of a room with their middleware: one [`EventIngest`] per event encodes it and runs its middleware stack.
//!
//! `rooms!` implements [`ServerRoom`], [`MiddlewareFromState`] and [`RoomIngest`] for each room type.
//! [`Ingest`](super::Ingest) holds the rooms as [`AnyRoom`] trait objects; everything below that boundary is statically
//! dispatched.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use super::{
    Payload,
    codec::{EncodedEvent, decode, encode},
    in_flight::EventInFlight,
};
use crate::{
    Code, Event, Refusal, Room,
    catch_panic::{catch_panic, catch_panic_sync},
    live::not_found,
    middleware::{Cx, Flow, MiddlewareStack, Next, RunStack},
    room::{EventOf, Key, ServerRoom},
    wire::EventIndex,
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
    has_middleware: fn(&RoomWithMiddleware<R, L>) -> bool,
    encode: fn(Payload<'_>) -> Result<EncodedEvent, Refusal>,
    run_middleware: RunMiddleware<R, L>,
}

type RunMiddleware<R, L> =
    for<'a> fn(&'a RoomWithMiddleware<R, L>, Cx<R>, Payload<'a>, Box<EventInFlight>) -> BoxFlow<'a>;

pub(crate) type BoxFlow<'a> = Pin<Box<dyn Future<Output = Flow> + Send + 'a>>;

impl<R: ServerRoom, L: Send + Sync + 'static> EventIngest<R, L> {
    /// Returns the ingest functions of event `E`.
    pub const fn of<E: EventOf<R>>() -> Self
    where
        L: MiddlewareStack<R, E>,
    {
        EventIngest {
            has_middleware: has_middleware::<R, E, L>,
            encode: |payload| decode::<E>(payload).and_then(|event| encode(&event)),
            run_middleware: |room, cx, payload, in_flight| {
                Box::pin(refuse_on_panic(run_middleware::<R, E, L>(room, cx, payload, in_flight)))
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

/// A room without its type.
pub(crate) trait AnyRoom: Send + Sync {
    /// Returns whether `text` is the canonical text of a key of this room.
    fn is_key(&self, text: Option<&str>) -> bool;

    /// Returns whether the event passes middleware: its own, the room's or the server's.
    fn has_middleware(&self, event: EventIndex) -> bool;

    /// Decodes, validates and encodes an event, of which only the fields of its type remain.
    fn encode(&self, event: EventIndex, payload: Payload<'_>) -> Result<EncodedEvent, Refusal>;

    /// Decodes and validates an event, runs its middleware stack and publishes it.
    fn run_middleware<'a>(&'a self, payload: Payload<'a>, in_flight: Box<EventInFlight>) -> BoxFlow<'a>;
}

/// The middleware values of a room, inside of those of the server: the implementation of [`AnyRoom`].
struct RoomWithMiddleware<R: ServerRoom, L> {
    middleware: R::Middleware,
    server_middleware: Arc<L>,
}

impl<R: RoomIngest<L>, L: Send + Sync + 'static> AnyRoom for RoomWithMiddleware<R, L> {
    fn is_key(&self, text: Option<&str>) -> bool {
        R::Key::from_text(text).is_some()
    }

    fn has_middleware(&self, event: EventIndex) -> bool {
        event.entry_of(R::EVENT_INGESTS).is_some_and(|event| (event.has_middleware)(self))
    }

    fn encode(&self, event: EventIndex, payload: Payload<'_>) -> Result<EncodedEvent, Refusal> {
        let event = event.entry_of(R::EVENT_INGESTS).ok_or_else(undeclared)?;
        let panicked = || Err(Refusal::new(Code::Internal, "internal error"));
        catch_panic_sync("an event's validation", || (event.encode)(payload)).unwrap_or_else(panicked)
    }

    fn run_middleware<'a>(&'a self, payload: Payload<'a>, in_flight: Box<EventInFlight>) -> BoxFlow<'a> {
        let refused = |refusal| -> BoxFlow<'a> { Box::pin(std::future::ready(Err(refusal))) };
        let Some(event) = in_flight.event.entry_of(R::EVENT_INGESTS) else { return refused(undeclared()) };
        let room_id = &in_flight.context.room_id;
        let key = room_id.split_once(':').map(|(_, key)| key);
        let cx = R::Key::from_text(key).ok_or_else(|| not_found(room_id)).and_then(|key| in_flight.cx(key));
        match cx {
            Ok(cx) => (event.run_middleware)(self, cx, payload, in_flight),
            Err(refusal) => refused(refusal),
        }
    }
}

/// The end of every middleware stack: encodes the event and publishes it.
struct PublishEvent(Box<EventInFlight>);

impl<R: Room, E: Event> Next<R, E> for PublishEvent {
    async fn run(self, _: &Cx<R>, event: E) -> Flow {
        self.0.publish(encode(&event)?).await
    }
}

fn has_middleware<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
) -> bool {
    fn is_empty<R: Room, E, C: MiddlewareStack<R, E>>(_: &C) -> bool {
        C::IS_EMPTY
    }
    !(L::IS_EMPTY && is_empty(&E::middleware_stack(&room.middleware)))
}

/// Decodes and validates an event, runs the server's middleware, then the room's, then the event's, and publishes it.
async fn run_middleware<R: ServerRoom, E: EventOf<R>, L: MiddlewareStack<R, E>>(
    room: &RoomWithMiddleware<R, L>,
    cx: Cx<R>,
    payload: Payload<'_>,
    in_flight: Box<EventInFlight>,
) -> Flow {
    let event = decode::<E>(payload)?;
    let stack = E::middleware_stack(&room.middleware);
    let next = RunStack { stack: &stack, end: PublishEvent(in_flight) };
    room.server_middleware.run(&cx, event, next).await
}

/// Returns the refusal of an event that has no row in its room: a fault of Dialogue, since entries look it up.
fn undeclared() -> Refusal {
    tracing::error!("an event is not among those of its room");
    Refusal::new(Code::Internal, "internal error")
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
