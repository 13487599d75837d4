//! One row for each event of a room: what decodes it and runs its chain.

use std::fmt;

use super::middleware::Chain;
use crate::{Event, EventOf, Room};

/// A room with the middleware it was declared with. `rooms!` implements it.
pub trait Served: Room {
    /// The middleware values, one for each place in a `with [..]`.
    type With: Send + Sync + 'static;
    /// One for each of [`Room::EVENTS`], in the same order.
    const GATES: &'static [Gate<Self>];

    /// Makes the middleware.
    fn with() -> Self::With;
}

/// An event with the chain that stands in front of it in room `R`. `rooms!` implements it.
pub trait Gated<R: Served>: EventOf<R> {
    /// The chain: `(&first, (&second, ()))`, the room's own before the event's.
    fn chain(with: &R::With) -> impl Chain<R, Self>;
}

/// One row of [`Served::GATES`].
pub struct Gate<R: Served> {
    room: std::marker::PhantomData<fn() -> R>,
}

impl<R: Served> Gate<R> {
    /// The row of event `E`.
    pub const fn of<E: Gated<R>>() -> Self {
        Gate { room: std::marker::PhantomData }
    }
}

impl<R: Served> fmt::Debug for Gate<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}
