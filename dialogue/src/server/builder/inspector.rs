//! The inspector.

use super::ServerBuilder;
use crate::{
    channel::inspector,
    server::{application::Application, routes::FixedRoutes},
};

impl<A: Application, I: Send + Sync + 'static, S, L> ServerBuilder<A, I, S, L> {
    /// Serves a page at `/dialogue` that shows the node's rooms, connections, rates and queues, and the events of a
    /// room as they happen. The page asks for a [server key](Self::server_key); without one, [`build`](Self::build)
    /// fails.
    pub fn inspector(mut self) -> Self {
        self.settings.routes.inspector = Some(FixedRoutes {
            paths: &inspector::PATHS,
            name: "the `inspector`",
            routes: |_| inspector::routes(),
        });
        self
    }
}
