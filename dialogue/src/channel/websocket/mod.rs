//! Rooms over a WebSocket (RFC 6455).

mod connection;
mod echo;
mod frame;
mod handshake;
mod socket;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use tracing::Instrument;

use super::admission::{Refused, check_origin, enter, user};
use crate::{
    Code, Refusal,
    engine::Engine,
    observe::{Source, TraceParent},
    session::NewConnection,
};
use connection::Connection;
use handshake::{Grant, Subprotocol};
use socket::Socket;

/// The socket's route, at whatever path the application chose.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    let handler = get(open);
    // A stream of HTTP/2 becomes a socket by CONNECT (RFC 8441).
    #[cfg(feature = "http2")]
    let handler = handler.connect(open);
    Router::new().route(path, handler)
}

/// A socket without Dialogue's protocol that sends every message back: for RFC 6455 test suites.
pub(crate) fn echo_route(path: &str) -> Router<Arc<Engine>> {
    let handler = get(echo);
    #[cfg(feature = "http2")]
    let handler = handler.connect(echo);
    Router::new().route(path, handler)
}

async fn open(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    check_origin(&engine, &parts.headers, &parts.uri)?;
    // A request that is no handshake uses up nothing of its address's connects.
    let (grant, upgrade) = match greet(&mut parts) {
        Ok(greeted) => greeted,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let subprotocol = match Subprotocol::choose(&parts.headers) {
        Ok(subprotocol) => subprotocol,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let (address, visit) = enter(&engine, &parts)?;
    let token = subprotocol.token.as_ref().map(|token| token.reveal());
    let user = user(&engine, &parts, token).await?;
    let speaking = engine.speak();
    let counted = engine.admit(visit)?;
    let entrance =
        NewConnection { source: Source::WebSocket, address, parent: TraceParent::of(&parts.headers) };
    tokio::spawn(async move {
        if let Ok(socket) = Socket::open(upgrade).await {
            let connection = Box::new(Connection::new(engine, socket, user, entrance, speaking));
            let span = connection.span();
            connection.run().instrument(span).await;
        }
        drop(counted);
    });
    Ok(handshake::granted(grant, subprotocol.chosen).map(|()| Body::empty()))
}

async fn echo(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    let (grant, upgrade) = match greet(&mut parts) {
        Ok(greeted) => greeted,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let (_, visit) = enter(&engine, &parts)?;
    let counted = engine.admit(visit)?;
    tokio::spawn(async move {
        if let Ok(socket) = Socket::open(upgrade).await {
            echo::run(socket).await;
        }
        drop(counted);
    });
    Ok(handshake::granted(grant, None).map(|()| Body::empty()))
}

/// What grants the upgrade, and the promise of the connection.
fn greet(parts: &mut Parts) -> Result<(Grant, OnUpgrade), handshake::Refusal> {
    let grant = handshake::accept(parts)?;
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(handshake::Refusal::NoUpgrade)?;
    Ok((grant, upgrade))
}

fn refuse(refusal: handshake::Refusal) -> Response {
    let code = if refusal.status() == http::StatusCode::UNAUTHORIZED {
        Code::Unauthenticated
    } else {
        Code::InvalidRequest
    };
    let mut response = Refused(Refusal::new(code, refusal.to_string())).into_response();
    *response.status_mut() = refusal.status();
    if let Some((name, value)) = refusal.header() {
        response.headers_mut().insert(name, value);
    }
    response
}
