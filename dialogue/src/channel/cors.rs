//! The CORS layer, by the [Fetch standard](https://fetch.spec.whatwg.org/#http-cors-protocol): it lets pages of allowed
//! origins read responses. [`check_origin`] alone decides whether a request is carried out.

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

use super::admission::{RefusalResponse, check_origin};
use crate::engine::Engine;

/// Adds the layer to `routes`: pages of the origins that may connect can read the responses.
pub(crate) fn with_cors(routes: Router<Arc<Engine>>, engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    routes.route_layer(from_fn_with_state(Arc::clone(engine), add_headers))
}

/// The allowed request methods.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// The allowed request headers: those of clients and of `EventSource` polyfills, and those that telemetry adds to every
/// request (W3C, Zipkin, Sentry). A browser doesn't send a request with a header that isn't listed.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, last-event-id, dialogue-from, dialogue-if-seq, cache-control, \
     x-requested-with, x-request-id, traceparent, tracestate, baggage, b3, x-b3-traceid, x-b3-spanid, \
     x-b3-parentspanid, x-b3-sampled, sentry-trace",
);
/// The response headers that pages can read.
const READABLE: HeaderValue = HeaderValue::from_static("retry-after, dialogue-anonymous-token");
/// The time for which a browser caches the response of a preflight, in seconds; browsers cap it at this.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
/// The request headers that a cache must distinguish responses by.
const VARIES: HeaderValue = HeaderValue::from_static("origin");
const PREFLIGHT_VARIES: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

async fn add_headers(State(engine): State<Arc<Engine>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let allowed = check_origin(&engine, headers, request.uri());
    // Without the header of an allowed origin, the browser withholds the response from the page.
    let origin = headers.get(ORIGIN).filter(|_| allowed.is_ok()).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match allowed {
        Err(refusal) if is_preflight => RefusalResponse(refusal).into_response(),
        Ok(()) if is_preflight => preflight_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, if is_preflight { PREFLIGHT_VARIES } else { VARIES });
    if let Some(origin) = origin {
        allow_reading(headers, origin, engine.admission.identity.cookie.is_some());
    }
    response
}

fn preflight_response() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn allow_reading(headers: &mut HeaderMap, origin: HeaderValue, uses_cookie: bool) {
    // The origin itself: browsers withhold a response with `*` if the request had credentials.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, READABLE);
    if uses_cookie {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}
