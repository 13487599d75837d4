//! Routes over which the application's own routes at the same paths take precedence.

use std::sync::Arc;

use axum::routing::{MethodRouter, any_service};

use crate::engine::Engine;

/// Turns `routes` into a fallback, which answers only the methods that the application's own routes at the same path
/// don't.
///
/// [`Router::merge`](axum::Router::merge) panics if both routers have a handler of a method, but accepts a handler and
/// a fallback. The fallback answers methods that `routes` doesn't have with 405 and `Allow`.
pub(super) fn fallback(routes: MethodRouter<Arc<Engine>>, engine: &Arc<Engine>) -> MethodRouter<Arc<Engine>> {
    any_service(routes.with_state::<()>(Arc::clone(engine)))
}
