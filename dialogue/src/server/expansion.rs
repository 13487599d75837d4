//! The items of the server that an expansion of `rooms!` names. They are no public API.

pub use super::application::{Admits, Declared, Serves};
pub use crate::{
    identity::provides::{IdentityRequirement, NoIdentity},
    ingest::{EventIngest, MiddlewareFromState, RoomIngest},
    middleware::function::{IntoFlowFuture, MiddlewareFn, call_closure, call_function},
};

use super::{RoomHandle, Server, ServerBuilder, application::Application};
use crate::room::ServerRoom;

/// `Acme::server()`.
pub fn server<A: Application>() -> ServerBuilder<A> {
    ServerBuilder::new()
}

/// `server.chat()`, `server.project(key)`.
pub fn handle<R: ServerRoom>(server: &Server, key: R::Key) -> RoomHandle<R> {
    RoomHandle::new(server, key)
}
