//! Routes that an application may answer itself.

use std::sync::Arc;

use axum::routing::{MethodRouter, any_service};

use crate::engine::Engine;

/// Makes `routes` answer only the methods that the application's own routes at the same path don't.
///
/// [`Router::merge`](axum::Router::merge) panics where both sides have a handler of a method, but takes a handler beside a
/// fallback. `routes` becomes such a fallback, which answers other methods than its own with 405 and `Allow`.
pub(super) fn yielding(routes: MethodRouter<Arc<Engine>>, engine: &Arc<Engine>) -> MethodRouter<Arc<Engine>> {
    any_service(routes.with_state::<()>(Arc::clone(engine)))
}
