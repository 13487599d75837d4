//! One row for each event of a room: what decodes it and runs its chain.

use std::{any::Any, borrow::Cow, cell::Cell, fmt, future::Future, io, pin::Pin, sync::Arc};

use serde::de::DeserializeOwned;

use super::{
    middleware::{Chain, Cx, Flow, Next, Then},
    post::{Post, Prepared},
};
use crate::{Code, Detail, Event, EventOf, Key, Refusal, Room, caught::caught, wire::json};

/// A room with the middleware that it was declared with. `rooms!` implements it.
pub trait Served: Room {
    /// The middleware values, one for each place in a `with [..]`.
    type With: Send + Sync + 'static;
    /// What it requires of its callers: [`Anybody`](crate::Anybody) when that is nothing.
    type Identity: Send + Sync + 'static;
}

/// A room whose middleware can be made from the application's state `S`. `rooms!` implements it.
pub trait Equipped<S>: Served {
    /// Makes the middleware.
    fn with(state: &S) -> Self::With;
}

/// A room that may stand behind the server's middleware `L`. `rooms!` implements it.
pub trait Gates<L: Send + Sync + 'static>: Served {
    /// One for each of [`Room::EVENTS`], in the same order.
    const GATES: &'static [Gate<Self, L>];
}

/// One row of [`Gates::GATES`].
pub struct Gate<R: Served, L> {
    open: fn(&Guarded<R, L>, &str) -> Opened,
    admit: Admit<R, L>,
    trigger: Trigger<R, L>,
}

type Admit<R, L> = for<'a> fn(&'a Guarded<R, L>, Cx<R>, &'a str, Box<Post>) -> BoxFlow<'a>;
type Trigger<R, L> = for<'a> fn(&'a Guarded<R, L>, Cx<R>, &'a mut Parcel, Box<Post>) -> BoxFlow<'a>;

/// What goes into the log; `None` where something stands in front of it.
type Opened = Option<Result<Prepared, Refusal>>;

/// An event of server code without its type: an `Option<E>`, to be taken out once.
pub(crate) type Parcel = dyn Any + Send;

pub(crate) type BoxFlow<'a> = Pin<Box<dyn Future<Output = Flow> + Send + 'a>>;

impl<R: Served, L: Send + Sync + 'static> Gate<R, L> {
    /// The row of event `E`.
    pub const fn of<E: EventOf<R>>() -> Self
    where
        L: Chain<R, E>,
    {
        Gate {
            open: open::<R, E, L>,
            admit: |guarded, cx, json, post| Box::pin(unharmed(admit::<R, E, L>(guarded, cx, json, post))),
            trigger: |guarded, cx, parcel, post| {
                Box::pin(unharmed(trigger::<R, E, L>(guarded, cx, parcel, post)))
            },
        }
    }
}

/// Middleware that panics fails the event that it was called for, and nothing else.
async fn unharmed(flow: impl Future<Output = Flow>) -> Flow {
    let panicked = || Err(Refusal::new(Code::Internal, "internal error"));
    caught("middleware", flow).await.unwrap_or_else(panicked)
}

impl<R: Served, L> fmt::Debug for Gate<R, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// A room without its type: what a connection calls. The one place where a box is made for an event, and only for one
/// that has middleware, or comes from server code.
pub(crate) trait AnyRoom: Send + Sync {
    /// Whether `text` is the canonical text of a key.
    fn is_key(&self, text: Option<&str>) -> bool;

    /// What goes into the log, if nothing stands in front of it.
    fn open(&self, event: u8, json: &str) -> Opened;

    /// Runs the event's chain, at whose end it is posted.
    fn admit<'a>(&'a self, json: &'a str, post: Box<Post>) -> BoxFlow<'a>;

    /// The same for an event of server code.
    fn trigger<'a>(&'a self, event: &'a mut Parcel, post: Box<Post>) -> BoxFlow<'a>;
}

/// See [`AnyRoom`].
struct Guarded<R: Served, L> {
    with: R::With,
    around: Arc<L>,
}

impl<R: Gates<L>, L: Send + Sync + 'static> Guarded<R, L> {
    fn pass<'a>(
        &'a self,
        post: Box<Post>,
        through: impl FnOnce(&Gate<R, L>, Cx<R>, Box<Post>) -> BoxFlow<'a>,
    ) -> BoxFlow<'a> {
        let refused = |refusal| -> BoxFlow<'a> { Box::pin(std::future::ready(Err(refusal))) };
        match (R::GATES.get(usize::from(post.event)), R::Key::from_text(post.key_text())) {
            (Some(gate), Some(key)) => match post.cx(key) {
                Ok(cx) => through(gate, cx, post),
                Err(refusal) => refused(refusal),
            },
            _ => refused(crate::hub::not_found(&post.room_id)),
        }
    }
}

impl<R: Gates<L>, L: Send + Sync + 'static> AnyRoom for Guarded<R, L> {
    fn is_key(&self, text: Option<&str>) -> bool {
        R::Key::from_text(text).is_some()
    }

    fn open(&self, event: u8, json: &str) -> Opened {
        R::GATES.get(usize::from(event)).and_then(|gate| (gate.open)(self, json))
    }

    fn admit<'a>(&'a self, json: &'a str, post: Box<Post>) -> BoxFlow<'a> {
        self.pass(post, |gate, cx, post| (gate.admit)(self, cx, json, post))
    }

    fn trigger<'a>(&'a self, event: &'a mut Parcel, post: Box<Post>) -> BoxFlow<'a> {
        self.pass(post, |gate, cx, post| (gate.trigger)(self, cx, event, post))
    }
}

/// The end of every chain: into the log.
struct End(Box<Post>);

impl<R: Room, E: Event> Next<R, E> for End {
    async fn run(self, _: &Cx<R>, event: E) -> Flow {
        self.0.put(prepare(&event)?).await
    }
}

fn open<R: Served, E: EventOf<R>, L: Chain<R, E>>(guarded: &Guarded<R, L>, json: &str) -> Opened {
    fn is_empty<R: Room, E, C: Chain<R, E>>(_: &C) -> bool {
        C::EMPTY
    }
    (L::EMPTY && is_empty(&E::chain(&guarded.with)))
        .then(|| decode::<E>(json).and_then(|event| prepare(&event)))
}

async fn admit<R: Served, E: EventOf<R>, L: Chain<R, E>>(
    guarded: &Guarded<R, L>,
    cx: Cx<R>,
    json: &str,
    post: Box<Post>,
) -> Flow {
    run(guarded, &cx, decode::<E>(json)?, post).await
}

async fn trigger<R: Served, E: EventOf<R>, L: Chain<R, E>>(
    guarded: &Guarded<R, L>,
    cx: Cx<R>,
    parcel: &mut Parcel,
    post: Box<Post>,
) -> Flow {
    let Some(event) = parcel.downcast_mut::<Option<E>>().and_then(Option::take) else {
        tracing::error!(event = E::NAME, "server code's event is none of its room's");
        return Err(Refusal::new(Code::Internal, "internal error"));
    };
    event.check().map_err(Refusal::invalid_fields)?;
    run(guarded, &cx, event, post).await
}

/// The server's middleware, the room's and the event's, in this order.
async fn run<R: Served, E: EventOf<R>, L: Chain<R, E>>(
    guarded: &Guarded<R, L>,
    cx: &Cx<R>,
    event: E,
    post: Box<Post>,
) -> Flow {
    let own = E::chain(&guarded.with);
    guarded.around.run(cx, event, Then { rest: &own, end: End(post) }).await
}

fn decode<E: Event>(text: &str) -> Result<E, Refusal> {
    // serde would take an array of a struct's fields.
    if E::IS_OBJECT && !text.trim_start().starts_with('{') {
        let message = "an object is expected".to_owned();
        return Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message }]));
    }
    let event: E = match serde_json::from_str(text) {
        Ok(event) => event,
        Err(_) => {
            // serde's derives refuse a field that is there twice; by the protocol, the last counts.
            let json = json::last_of_each(text).map_or(Cow::Borrowed(text), Cow::Owned);
            serde_json::from_str(&json).map_err(|_| why::<E>(&json))?
        }
    };
    event.check().map_err(Refusal::invalid_fields)?;
    Ok(event)
}

/// Encodes what the event's type knows of the payload: unknown fields are dropped so.
fn prepare<E: Event>(event: &E) -> Result<Prepared, Refusal> {
    let encoded = if E::READS_BACK { Ok(serde_json::to_string(event)) } else { encode_readably(event) };
    let data = encoded?.map_err(|error| {
        tracing::error!(event = E::NAME, %error, "an event can't be encoded as JSON");
        Refusal::new(Code::Internal, "internal error")
    })?;
    Ok(Prepared { data, conflated: event.conflation_key() })
}

/// Encodes an event of a type that may not read back what it writes, and refuses one that it doesn't: in the log, it would
/// be an event that no reader can have.
fn encode_readably<E: Event>(event: &E) -> Result<serde_json::Result<String>, Refusal> {
    /// Writes raw JSON in one line, and notes that there was some.
    struct Compact<'a>(&'a Cell<bool>);

    impl serde_json::ser::Formatter for Compact<'_> {
        fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, raw: &str) -> io::Result<()> {
            self.0.set(true);
            out.write_all(json::compact(raw).as_bytes())
        }
    }

    let (is_raw, mut data) = (Cell::new(false), Vec::with_capacity(128));
    let mut serializer = serde_json::Serializer::with_formatter(&mut data, Compact(&is_raw));
    if let Err(error) = event.serialize(&mut serializer) {
        return Ok(Err(error));
    }
    let Ok(data) = String::from_utf8(data) else {
        return Err(Refusal::new(Code::Internal, "internal error"));
    };
    if serde_json::from_str::<E>(&data).is_err() {
        return Err(why::<E>(&data));
    }
    // Raw JSON reads itself back, whatever others make of it.
    match is_raw.get().then(|| json::unreadable(&data)).flatten() {
        Some(why) => {
            Err(Refusal::invalid_fields(vec![Detail { path: String::new(), message: why.to_owned() }]))
        }
        None => Ok(Ok(data)),
    }
}

/// Decodes what failed once more, slowly, to tell where.
fn why<E: DeserializeOwned>(json: &str) -> Refusal {
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
    // serde_json says where in the text; the path says it better.
    let text = error.inner().to_string();
    let message = text.rfind(" at line ").and_then(|end| text.get(..end)).unwrap_or(&text).to_owned();
    if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        path.extend(["/", missing]);
    }
    Refusal::invalid_fields(vec![Detail { path, message }])
}

pub(crate) fn guarded<R, S, L>(state: &S, around: &Arc<L>) -> Arc<dyn AnyRoom>
where
    R: Equipped<S> + Gates<L>,
    L: Send + Sync + 'static,
{
    Arc::new(Guarded::<R, L> { with: R::with(state), around: Arc::clone(around) })
}
