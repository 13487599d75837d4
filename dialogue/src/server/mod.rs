//! Assembly: what an application builds, holds and serves.

use std::{fmt, marker::PhantomData};

use crate::{
    Gated, Served,
    wire::{Accepted, Refusal},
};

/// The rooms of an application. `rooms!` implements it.
pub trait Application: Sized + 'static {
    /// The declared rooms.
    const ROOMS: &'static [Declared];
    /// The typed handle.
    type Server: From<Server>;
}

/// One row of [`Application::ROOMS`].
pub struct Declared {}

impl Declared {
    /// The row of room `R`.
    pub const fn of<R: Served>() -> Self {
        Declared {}
    }
}

impl fmt::Debug for Declared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Declared")
    }
}

/// Builds a [`Server`].
#[derive(Debug)]
pub struct ServerBuilder<A: Application>(PhantomData<A>);

impl<A: Application> ServerBuilder<A> {
    pub(crate) fn new() -> Self {
        ServerBuilder(PhantomData)
    }

    /// Builds it.
    pub async fn build(self) -> Result<A::Server, std::io::Error> {
        Ok(Server {}.into())
    }
}

/// A running engine with its rooms.
#[derive(Debug, Clone)]
pub struct Server {}

/// The server's own end of one room instance.
#[derive(Debug)]
pub struct RoomHandle<R: Served> {
    room: PhantomData<R>,
}

impl<R: Served> RoomHandle<R> {
    pub(crate) fn new(_server: &Server, _key: R::Key) -> Self {
        RoomHandle { room: PhantomData }
    }

    /// Puts an event into the room.
    pub async fn trigger<E: Gated<R>>(&self, _event: E) -> Result<Accepted, Refusal> {
        Err(Refusal::blocked("nothing is there yet"))
    }

    /// Runs `handler` for each event of type `E`.
    pub fn on<E, F, T>(&self, _handler: F)
    where
        E: Gated<R>,
        F: Fn(crate::Delivery<E>) -> T + Send + 'static,
        T: Future<Output = ()> + Send,
    {
    }
}
