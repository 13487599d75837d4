//! Rooms over a WebSocket (RFC 6455; over HTTP/2, RFC 8441): the upgrade, and the task of each connection.

mod connection;
mod echo;
mod frame;
pub(super) mod handshake;
mod socket;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tracing::Instrument;

use super::{
    admission::{RefusalResponse, admit_connection, authenticate_user, check_origin},
    http2::websocket_methods,
};
use crate::{
    Code, Refusal,
    engine::Engine,
    observe::{Source, TraceParent},
    session::NewConnection,
};
use connection::Connection;
use handshake::{Grant, HandshakeError, Subprotocol};
use socket::UpgradedSocket;

/// Returns the route of WebSocket connections, at the path that the application has set.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    Router::new().route(path, websocket_methods(open))
}

/// Returns the route of a WebSocket that sends every message back, without Dialogue's protocol: for RFC 6455 test
/// suites.
pub(crate) fn echo_route(path: &str) -> Router<Arc<Engine>> {
    Router::new().route(path, websocket_methods(echo))
}

async fn open(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, RefusalResponse> {
    let (mut parts, _) = request.into_parts();
    check_origin(&engine, &parts.headers, &parts.uri)?;
    // Before admission: an invalid handshake doesn't count against the connection rate of its address.
    let (grant, upgrade) = match accept_handshake(&mut parts) {
        Ok(accepted) => accepted,
        Err(error) => return Ok(handshake_error_response(error)),
    };
    let subprotocol = match Subprotocol::choose(&parts.headers) {
        Ok(subprotocol) => subprotocol,
        Err(error) => return Ok(handshake_error_response(error)),
    };
    let (address, slot) = admit_connection(&engine, &parts)?;
    let token = subprotocol.token.as_ref().map(|token| token.reveal());
    let user = authenticate_user(&engine, &parts, token).await?;
    let publish_guard = engine.drain.publish_guard();
    let drain_guard = engine.drain.admit_connection(slot)?;
    let entrance = NewConnection {
        source: Source::WebSocket,
        address,
        parent: TraceParent::from_headers(&parts.headers),
    };
    tokio::spawn(async move {
        if let Ok(socket) = UpgradedSocket::open(upgrade).await {
            let connection = Box::new(Connection::new(engine, socket, user, entrance, publish_guard));
            let span = connection.span();
            connection.run().instrument(span).await;
        }
        drop(drain_guard);
    });
    Ok(handshake::accepted(grant, subprotocol.chosen).map(|()| Body::empty()))
}

async fn echo(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, RefusalResponse> {
    let (mut parts, _) = request.into_parts();
    let (grant, upgrade) = match accept_handshake(&mut parts) {
        Ok(accepted) => accepted,
        Err(error) => return Ok(handshake_error_response(error)),
    };
    let (_, slot) = admit_connection(&engine, &parts)?;
    let drain_guard = engine.drain.admit_connection(slot)?;
    tokio::spawn(async move {
        if let Ok(socket) = UpgradedSocket::open(upgrade).await {
            echo::run(socket).await;
        }
        drop(drain_guard);
    });
    Ok(handshake::accepted(grant, None).map(|()| Body::empty()))
}

/// Validates the handshake, and returns the response that accepts it and the future of the upgraded connection.
fn accept_handshake(parts: &mut Parts) -> Result<(Grant, OnUpgrade), HandshakeError> {
    let grant = handshake::accept(parts)?;
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(HandshakeError::NoUpgrade)?;
    Ok((grant, upgrade))
}

fn handshake_error_response(error: HandshakeError) -> Response {
    let code = if error.status() == http::StatusCode::UNAUTHORIZED {
        Code::Unauthenticated
    } else {
        Code::InvalidRequest
    };
    let mut response = RefusalResponse(Refusal::new(code, error.to_string())).into_response();
    *response.status_mut() = error.status();
    if let Some((name, value)) = error.header() {
        response.headers_mut().insert(name, value);
    }
    response
}
