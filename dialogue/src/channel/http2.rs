//! HTTP/2: the settings of its connections, and WebSockets over its streams (RFC 8441). In `without_http2.rs` there is
//! the same without the feature `http2`.

use axum::{
    handler::Handler,
    routing::{MethodRouter, get},
};
use http::{Method, request::Parts};
use hyper_util::{rt::TokioTimer, server::conn::auto::Builder};

use crate::engine::ServerBounds;

/// The HTTP versions of a WebSocket, for a client that uses another.
pub(super) const WEBSOCKET_VERSIONS: &str =
    "a WebSocket opens over HTTP/1.1, or over HTTP/2 with CONNECT (RFC 8441)";

/// Sets the bounds and timeouts of the HTTP/2 connections that `http` serves.
pub(crate) fn configure<E>(http: &mut Builder<E>, bounds: &ServerBounds, max_send_bytes: usize) {
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(bounds.http.max_header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(bounds.http.max_http2_streams)
        .max_send_buf_size(max_send_bytes)
        .keep_alive_interval(bounds.connections.ping_interval)
        .keep_alive_timeout(bounds.connections.pong_timeout)
        .enable_connect_protocol();
}

/// Returns the methods by which a WebSocket opens: GET, and extended CONNECT.
pub(super) fn websocket_methods<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    get(handler.clone()).connect(handler)
}

/// Returns whether a request asks to make its stream a WebSocket (extended CONNECT).
pub(super) fn is_websocket_connect(request: &Parts) -> bool {
    let protocol = request.extensions.get::<hyper::ext::Protocol>();
    request.method == Method::CONNECT && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::super::websocket::handshake::{Grant, HandshakeError, accept, accepted};

    fn ask(protocol: Option<&'static str>, version: &str) -> Result<Grant, HandshakeError> {
        let request = http::Request::builder().method("CONNECT").version(Version::HTTP_2);
        let (mut parts, ()) =
            request.header("sec-websocket-version", version).body(()).expect("a request").into_parts();
        if let Some(protocol) = protocol {
            parts.extensions.insert(hyper::ext::Protocol::from_static(protocol));
        }
        accept(&parts)
    }

    #[test]
    fn an_extended_connect_is_accepted() {
        assert_eq!(ask(Some("websocket"), "13"), Ok(Grant::Stream));
        assert_eq!(ask(Some("websocket"), "12"), Err(HandshakeError::WebSocketVersion));
        assert_eq!(ask(Some("connect-udp"), "13"), Err(HandshakeError::Method));
        assert_eq!(ask(None, "13"), Err(HandshakeError::Method));
        assert_eq!(accepted(Grant::Stream, Some("dialogue.v1")).status(), 200);
    }
}
