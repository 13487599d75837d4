//! What `rooms!` hands over.

use std::{fmt, sync::Arc};

use super::Server;
use crate::{
    IdentityRequirement, ServerRoom,
    gate::{AnyRoom, MiddlewareFromState, RoomIngest, build_room},
    hub::RoomDecl,
    observe::{Meter, Traces},
    room::Key,
};

/// The rooms of an application. `rooms!` implements it.
pub trait Application: Sized + 'static {
    /// The typed handle.
    type Server: From<Server>;
}

/// An application whose rooms can be made from the state `S`, behind the server's middleware `L`. `rooms!` implements it.
pub trait Serves<S: 'static, L: Send + Sync + 'static>: Application {
    /// The declared rooms: one slice for each, which is empty where the room is left out by a `#[cfg]`.
    const ROOMS: &'static [&'static [Declared<S, L>]];
}

/// An application whose rooms can be served to callers that its authenticator tells of as `I`. `rooms!` implements it for
/// each `I` that [`Provides`](crate::Provides) what the rooms require.
pub trait Admits<I>: Application {
    /// One for each of [`Serves::ROOMS`], in the same order; or none at all, if no room asks for an identity.
    const ASKED: &'static [IdentityRequirement] = &[];
}

/// One row of [`Serves::ROOMS`].
pub struct Declared<S, L> {
    describe: fn(usize, IdentityRequirement) -> RoomDecl,
    guard: fn(&S, &Arc<L>) -> Arc<dyn AnyRoom>,
}

impl<S, L: Send + Sync + 'static> Declared<S, L> {
    /// The row of room `R`.
    pub const fn of<R: MiddlewareFromState<S> + RoomIngest<L>>() -> Self {
        Declared { describe: describe::<R>, guard: build_room::<R, S, L> }
    }

    pub(super) fn describe(&self, index: usize, asked: IdentityRequirement) -> RoomDecl {
        (self.describe)(index, asked)
    }

    pub(super) fn guard(&self, state: &S, around: &Arc<L>) -> Arc<dyn AnyRoom> {
        (self.guard)(state, around)
    }
}

fn describe<R: ServerRoom>(index: usize, asked: IdentityRequirement) -> RoomDecl {
    RoomDecl {
        index,
        name: R::NAME,
        // A room without key is the one whose key has no text.
        keyed: R::Key::from_text(None).is_none(),
        options: R::OPTIONS,
        asked,
        channels: R::CHANNELS,
        events: R::EVENTS.iter().map(|row| *row.kind()).collect(),
        meter: Meter::default(),
        traces: Traces::default(),
    }
}

/// The hash of what is declared: FNV-1a, 64 bits, over names and shapes in their order.
pub(super) fn schema(rooms: &[Arc<RoomDecl>]) -> String {
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
