//! Long answers count as waiting until their last byte is handed to HTTP.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::admission::Refused;
use crate::{
    Code, Refusal,
    engine::{Engine, Held},
};

/// Bytes of an answer that isn't counted.
const SHORT: u64 = 16 << 10;

/// Refuses what `routes` answer while too much waits for clients.
pub(crate) fn held<S: Clone + Send + Sync + 'static>(routes: Router<S>, engine: &Arc<Engine>) -> Router<S> {
    routes.route_layer(from_fn_with_state(Arc::clone(engine), hold))
}

async fn hold(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let size = http_body::Body::size_hint(response.body()).exact().unwrap_or_default();
    if size <= SHORT {
        return response;
    }
    match engine.responses.hold(usize::try_from(size).unwrap_or(usize::MAX)) {
        Some(held) => response.map(|body| Body::new(Waiting { body, _held: held })),
        None => {
            let message = "too many answers wait for their clients; try again in a moment";
            Refused(Refusal::new(Code::Unavailable, message)).into_response()
        }
    }
}

/// The body of an answer that is counted.
struct Waiting {
    body: Body,
    _held: Held,
}

impl http_body::Body for Waiting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
