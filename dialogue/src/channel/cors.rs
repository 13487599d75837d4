//! Pages of foreign origins that may read the answers: CORS, as the Fetch standard has it.
//!
//! Only what a browser asks before it lets a page read. Whether a request is carried out at all is for
//! [`check_origin`] alone.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::admission::{Refused, check_origin};
use crate::engine::Engine;

/// What `routes` answer may be read by the pages that may connect.
pub(crate) fn readable(routes: Router<Arc<Engine>>, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    routes.route_layer(from_fn_with_state(Arc::clone(engine), answer))
}

/// What pages may send.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// Headers that clients send, polyfills of `EventSource` too, and those that telemetry adds to every request: of W3C,
/// of Zipkin, and of Sentry. One that isn't listed keeps the browser from sending the request at all.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, dialogue-from, dialogue-if-seq, cache-control, \
     x-requested-with, x-request-id, traceparent, tracestate, baggage, b3, x-b3-traceid, x-b3-spanid, \
     x-b3-parentspanid, x-b3-sampled, sentry-trace",
);
/// What they may read beside the body.
const READABLE: HeaderValue = HeaderValue::from_static("retry-after, dialogue-anonymous-token");
/// How long a browser keeps what a preflight said, in seconds; none keeps it longer.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// A cache must not show one page what another was answered.
const VARIES: HeaderValue = HeaderValue::from_static("origin");
const PREFLIGHT_VARIES: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

async fn answer(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let allowed = check_origin(&engine, headers, request.uri());
    // One that isn't allowed gets an answer that its browser keeps from it.
    let origin = headers.get(ORIGIN).filter(|_| allowed.is_ok()).cloned();
    let preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match allowed {
        Err(refusal) if preflight => Refused(refusal).into_response(),
        Ok(()) if preflight => preflown(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, if preflight { PREFLIGHT_VARIES } else { VARIES });
    if let Some(origin) = origin {
        let_read(headers, origin, engine.identity.cookie.is_some());
    }
    response
}

fn preflown() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn let_read(headers: &mut HeaderMap, origin: HeaderValue, by_cookie: bool) {
    // The origin itself: a `*` would keep answers from requests with a cookie.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    if by_cookie {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
