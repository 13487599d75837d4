//! The items of `http2.rs` in a build without the feature `http2`: connections speak HTTP/1.1, over which WebSockets open by GET.

use axum::{
    handler::Handler,
    routing::{MethodRouter, get},
};
use http::request::Parts;
use hyper_util::server::conn::auto::Builder;

use crate::engine::ServerBounds;

/// The HTTP version of a WebSocket, for a client that uses another.
pub(super) const WEBSOCKET_VERSIONS: &str = "a WebSocket opens over HTTP/1.1";

/// Changes nothing: `http` serves no HTTP/2.
pub(crate) fn configure<E>(_http: &mut Builder<E>, _bounds: &ServerBounds, _max_send_bytes: usize) {}

/// Returns the method by which a WebSocket opens.
pub(super) fn websocket_methods<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    get(handler)
}

/// Returns false: no request makes its stream a WebSocket.
pub(super) fn is_websocket_connect(_request: &Parts) -> bool {
    false
}
