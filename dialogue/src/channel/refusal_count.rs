//! The layer that counts refused requests in the metrics.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};

use crate::{Code, engine::Engine, observe::Source};

/// Adds the layer to `routes`, unless the server has no metrics.
pub(crate) fn count_refusals(
    routes: Router<Arc<Engine>>,
    engine: &Arc<Engine>,
    source: Source,
) -> Router<Arc<Engine>> {
    if engine.observed.metrics.is_none() {
        return routes;
    }
    routes.route_layer(from_fn_with_state((Arc::clone(engine), source), count))
}

async fn count(
    State((engine, source)): State<(Arc<Engine>, Source)>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if let Some(code) = response.extensions().get::<Code>() {
        engine.refused(source, *code);
    }
    response
}
