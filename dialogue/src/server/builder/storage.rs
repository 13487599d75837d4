//! Where rooms and their logs are kept, and who shares and reports them: the store, the backplane and push.

use std::sync::Arc;

use super::ServerBuilder;
#[cfg(feature = "push")]
use crate::push::Push;
use crate::{cluster::backplane::Backplane, server::application::Application, store::Store};

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Keeps logs and rooms in `store`, so that they outlive the process. Without a store they are in memory.
    ///
    /// ```
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    /// # async fn run() -> Result<(), dialogue::Error> {
    /// let server = Acme::server().store(dialogue::store::Memory::new()).build().await?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn store(mut self, store: impl Store) -> Self {
        self.settings.storage.store = Some(Arc::new(store));
        self
    }

    /// Shares the rooms with the other nodes of the application. The backplane also keeps the logs, so that there is no
    /// other [`store`](Self::store). Members, events, rooms and what [`users`](Server::users) does are then those of
    /// all nodes, and the load balancer needs no sticky sessions. Rate limits count over all nodes only with a
    /// [`quota`](Self::quota).
    ///
    /// All nodes need the same `Redis` and the same prefix; their clocks may differ by seconds. A
    /// [handler](crate::server::RoomHandle::on) runs on each node, and receives all events on each.
    ///
    /// ```
    /// # #[dialogue::event] pub struct Message { pub text: String }
    /// # dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
    /// # #[cfg(feature = "redis")]
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use dialogue::Redis;
    ///
    /// let server = Acme::server().backplane(Redis::connect("redis://localhost").await?).build().await?;
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.settings.storage.backplane = Some(Arc::new(backplane));
        self
    }

    /// Sets the push providers. Rooms that are served over `webpush` need them: their members without a connection are
    /// notified.
    #[cfg(feature = "push")]
    pub fn push(mut self, push: Push) -> Self {
        self.settings.push = Some(push);
        self
    }
}
