//! The typed client.

use std::marker::PhantomData;

use crate::{ClientEvent, EventOf, Room, TwoWay};

/// A connection to a server.
#[derive(Debug, Clone)]
pub struct Client {}

/// Opens a [`Client`]; await it.
#[derive(Debug)]
pub struct Connect<C>(PhantomData<C>);

impl<C: From<Client>> Connect<C> {
    pub(crate) fn new(_url: String) -> Self {
        Connect(PhantomData)
    }
}

/// A room that a client may join.
#[derive(Debug)]
pub struct JoinRoom<R>(PhantomData<R>);

impl<R: Room> JoinRoom<R> {
    pub(crate) fn new(_client: &Client, _key: R::Key) -> Self {
        JoinRoom(PhantomData)
    }

    /// Joins it.
    pub async fn join(self) -> std::io::Result<RoomClient<R>> {
        Ok(RoomClient(PhantomData))
    }
}

/// A client's end of a joined room.
#[derive(Debug)]
pub struct RoomClient<R>(PhantomData<R>);

impl<R: Room> RoomClient<R> {
    /// Sends an event.
    pub async fn send<E: EventOf<R> + ClientEvent>(&self, _event: E) -> std::io::Result<()>
    where
        R: TwoWay,
    {
        Ok(())
    }
}
