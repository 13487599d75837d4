//! The traits by which the code that `rooms!` generates passes the declared rooms to the builder.

use std::{fmt, sync::Arc};

use super::Server;
use crate::{
    identity::provides::IdentityRequirement,
    ingest::{AnyRoom, MiddlewareFromState, RoomIngest, build_room},
    live::RoomSpec,
    observe::{Meter, Traces},
    room::{Key, ServerRoom},
    wire::RoomIndex,
};

/// An application: the rooms of one `rooms!`, which implements this.
pub trait Application: Sized + 'static {
    /// The generated server type, with a method for each room.
    type Server: From<Server>;
}

/// An application whose rooms can be built from the application state `S`, behind the server's middleware stack `L`.
/// `rooms!` implements it.
pub trait Serves<S: 'static, L: Send + Sync + 'static>: Application {
    /// The declared rooms: one slice for each, which is empty if a `#[cfg]` leaves the room out.
    const ROOMS: &'static [&'static [Declared<S, L>]];
}

/// An application whose rooms can be served to users of the identity type `I`. `rooms!` implements it for each `I` that
/// [`Provides`](crate::identity::Provides) the identities which the rooms require.
pub trait Admits<I>: Application {
    /// The required identity of each of [`Serves::ROOMS`], in the same order; empty if no room requires one.
    const REQUIRED_IDENTITIES: &'static [IdentityRequirement] = &[];
}

/// One row of [`Serves::ROOMS`].
pub struct Declared<S, L> {
    describe: fn(RoomIndex, IdentityRequirement) -> RoomSpec,
    build: fn(&S, &Arc<L>) -> Arc<dyn AnyRoom>,
}

impl<S, L: Send + Sync + 'static> Declared<S, L> {
    /// Returns the row of room `R`.
    pub const fn of<R: MiddlewareFromState<S> + RoomIngest<L>>() -> Self {
        Declared { describe: describe::<R>, build: build_room::<R, S, L> }
    }

    pub(super) fn describe(&self, index: RoomIndex, identity: IdentityRequirement) -> RoomSpec {
        (self.describe)(index, identity)
    }

    pub(super) fn build(&self, state: &S, server_middleware: &Arc<L>) -> Arc<dyn AnyRoom> {
        (self.build)(state, server_middleware)
    }
}

fn describe<R: ServerRoom>(index: RoomIndex, identity: IdentityRequirement) -> RoomSpec {
    RoomSpec {
        index,
        name: R::NAME,
        // Only the key type of a room without keys is made from no text.
        keyed: R::Key::from_text(None).is_none(),
        options: R::OPTIONS,
        identity,
        channels: R::CHANNELS,
        events: R::EVENTS.iter().map(|row| *row.kind()).collect(),
        meter: Meter::default(),
        traces: Traces::default(),
    }
}

/// Returns the hash of the declared rooms: [FNV-1a](http://www.isthe.com/chongo/tech/comp/fnv/) with 64 bits over the
/// names and types of rooms and events, in their order.
pub(super) fn schema(rooms: &[Arc<RoomSpec>]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for room in rooms {
        add(room.name);
        for event in &room.events {
            add(event.name);
            add(event.shape);
        }
    }
    format!("{hash:016x}")
}

impl<S, L> fmt::Debug for Declared<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Declared")
    }
}
