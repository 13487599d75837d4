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
use http::{HeaderValue, request::Parts};
use hyper::upgrade::OnUpgrade;
use tracing::Instrument;

use super::admission::{Refused, address, check_origin, user};
use crate::{
    Code, Refusal,
    engine::Engine,
    observe::{Source, TraceParent},
    session::Entrance,
};
use connection::Connection;
use handshake::Subprotocol;
use socket::Socket;

/// The socket's route, at whatever path the application chose.
pub(crate) fn route(path: &str) -> Router<Arc<Engine>> {
    Router::new().route(path, get(open))
}

/// A socket without Dialogue's protocol that sends every message back: for RFC 6455 test suites.
pub(crate) fn echo_route(path: &str) -> Router<Arc<Engine>> {
    Router::new().route(path, get(echo))
}

async fn open(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    check_origin(&engine, &parts.headers, &parts.uri)?;
    let address = address(&engine, &parts);
    let visit = engine.doors.enter(address)?;
    let (accept, upgrade) = match greet(&mut parts) {
        Ok(greeted) => greeted,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let subprotocol = match Subprotocol::choose(&parts.headers) {
        Ok(subprotocol) => subprotocol,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let token = subprotocol.token.as_ref().map(|token| token.reveal());
    let user = user(&engine, &parts, token).await?;
    let speaking = engine.speak();
    let counted = engine.admit(visit)?;
    let entrance = Entrance { source: Source::WebSocket, address, parent: TraceParent::of(&parts.headers) };
    tokio::spawn(async move {
        if let Ok(socket) = Socket::open(upgrade).await {
            let connection = Box::new(Connection::new(engine, socket, user, entrance, speaking));
            let span = connection.span();
            connection.run().instrument(span).await;
        }
        drop(counted);
    });
    Ok(handshake::switching_protocols(accept, subprotocol.chosen).map(|()| Body::empty()))
}

async fn echo(State(engine): State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    let (mut parts, _) = request.into_parts();
    let visit = engine.doors.enter(address(&engine, &parts))?;
    let (accept, upgrade) = match greet(&mut parts) {
        Ok(greeted) => greeted,
        Err(refusal) => return Ok(refuse(refusal)),
    };
    let counted = engine.admit(visit)?;
    tokio::spawn(async move {
        if let Ok(socket) = Socket::open(upgrade).await {
            echo::run(socket).await;
        }
        drop(counted);
    });
    Ok(handshake::switching_protocols(accept, None).map(|()| Body::empty()))
}

/// What grants the upgrade, and the promise of the connection.
fn greet(parts: &mut Parts) -> Result<(HeaderValue, OnUpgrade), handshake::Refusal> {
    let accept = handshake::accept(&parts.method, parts.version, &parts.headers)?;
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(handshake::Refusal::NoUpgrade)?;
    Ok((accept, upgrade))
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
