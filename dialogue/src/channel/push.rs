//! The HTTP API of push registrations: `POST /push`, `DELETE /push` and `GET /push/key`, for clients without a socket,
//! such as service workers.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use http::request::Parts;
use tokio::time::Instant;

use super::{
    admission::{RefusalResponse, admit_request, admit_unauthenticated, check_origin, token_required},
    fallback::fallback,
    http::{frame_response, is_json, read_body_of, read_refused_body},
};
use crate::{
    engine::Engine,
    hooks::UntypedCaller,
    identity::Principal,
    session::{Fields, PushChange, change_push, invalid},
    wire::{frame, request::RegisterPush},
};

pub(crate) fn routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new()
        .route("/push/key", fallback(get(application_key), engine))
        .route("/push", fallback(post(register).delete(unregister), engine))
}

/// Returns the VAPID public key, with which a page subscribes as `applicationServerKey`.
async fn application_key(
    State(engine): State<Arc<Engine>>,
    parts: Parts,
) -> Result<Response, RefusalResponse> {
    check_origin(&engine, &parts.headers, &parts.uri)?;
    admit_unauthenticated(&engine, &parts).await?;
    let key = engine.push.as_ref().and_then(|push| push.application_key());
    let key = key.ok_or_else(|| invalid("this server sends no pushes to browsers"))?;
    Ok(frame_response(&frame::PushKey { key: key.into() }))
}

async fn register(engine: State<Arc<Engine>>, request: Request) -> Result<Response, RefusalResponse> {
    handle(engine, PushChange::Register, request).await
}

async fn unregister(engine: State<Arc<Engine>>, request: Request) -> Result<Response, RefusalResponse> {
    handle(engine, PushChange::Unregister, request).await
}

async fn handle(
    State(engine): State<Arc<Engine>>,
    change: PushChange,
    request: Request,
) -> Result<Response, RefusalResponse> {
    let arrived = Instant::now();
    let (parts, mut body) = request.into_parts();
    let outcome = apply_request(&engine, change, &parts, &mut body).await;
    read_refused_body(outcome, body, arrived).await
}

async fn apply_request(
    engine: &Arc<Engine>,
    change: PushChange,
    parts: &Parts,
    request_body: &mut Body,
) -> Result<Response, RefusalResponse> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    // A caller with the server's key is no user, and has no device.
    let (Principal::User(user), rate_limit_key) = admit_request(engine, parts).await? else {
        return Err(token_required().into());
    };
    if change == PushChange::Register && !is_json(&parts.headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let bytes = read_body_of(Some(&user), request_body, engine.bounds.requests.max_frame_bytes).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid("the body is not UTF-8"))?;
    let request: RegisterPush<'_> =
        Fields::parse_body(text, engine.bounds.requests.max_json_depth)?.read()?;
    let actor = UntypedCaller { user, client_id: None };
    change_push(engine, &actor, rate_limit_key.as_ref(), change, request).await?;
    Ok(frame_response(&frame::Done {}))
}
