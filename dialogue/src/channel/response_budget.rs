//! The layer that reserves the bytes of long responses in the server's response budget until their last byte is handed
//! to HTTP.

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

use super::admission::RefusalResponse;
use crate::{
    Code, Refusal,
    engine::{Engine, ResponseReservation},
};

/// The maximum bytes of a response that isn't counted.
const UNCOUNTED_BYTES: u64 = 16 << 10;

/// Adds the layer to `routes`: a long response becomes an `UNAVAILABLE` while the budget is exhausted.
pub(crate) fn with_response_budget<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    engine: &Arc<Engine>,
) -> Router<S> {
    routes.route_layer(from_fn_with_state(Arc::clone(engine), reserve))
}

async fn reserve(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let size = http_body::Body::size_hint(response.body()).exact().unwrap_or_default();
    if size <= UNCOUNTED_BYTES {
        return response;
    }
    match engine.response_budget.reserve(usize::try_from(size).unwrap_or(usize::MAX)) {
        Some(reservation) => response.map(|body| Body::new(CountedBody { body, _reservation: reservation })),
        None => {
            let message = "too many responses are waiting for slow clients; try again in a moment";
            RefusalResponse(Refusal::new(Code::Unavailable, message)).into_response()
        }
    }
}

/// The body of a response whose bytes are reserved until it is dropped.
struct CountedBody {
    body: Body,
    _reservation: ResponseReservation,
}

impl http_body::Body for CountedBody {
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
