//! The last step into a room's log.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::middleware::{Cx, Flow};
use crate::{
    Code, Refusal, Room,
    hub::{Publish, Registry, Reply, RoomDecl},
};

/// An event as it goes into the log.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The payload as JSON.
    pub(crate) data: String,
    /// Of an event that newer ones take the place of.
    pub(crate) conflated: Option<String>,
}

/// Everything of an event but its payload.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) registry: Arc<Registry>,
    pub(crate) room: Arc<RoomDecl>,
    pub(crate) room_id: Arc<str>,
    pub(crate) event: u8,
    pub(crate) from: Arc<str>,
    pub(crate) server: bool,
    pub(crate) meta: Option<Box<str>>,
    pub(crate) key: Option<Box<str>>,
}

impl Post {
    /// Puts it there, and waits until it is accepted.
    pub(crate) async fn put(self, prepared: Prepared) -> Flow {
        let (sender, receiver) = oneshot::channel();
        let Post { registry, room, room_id, event, from, server, meta, key } = self;
        let Prepared { data, conflated } = prepared;
        let publish = Publish { event, data, conflated, from, server, meta, key, reply: Reply::Wait(sender) };
        registry.publish(&room, &room_id, publish).await?;
        receiver.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal, "internal error")))
    }

    /// What middleware sees of it.
    pub(super) fn cx<R: Room>(&self, key: R::Key) -> Cx<R> {
        Cx { key, room_id: Arc::clone(&self.room_id), from: Arc::clone(&self.from), server: self.server }
    }

    /// The text of the instance's key.
    pub(super) fn key_text(&self) -> Option<&str> {
        self.room_id.split_once(':').map(|(_, key)| key)
    }
}
