//! Registration of devices over plain HTTP, for whoever has no socket: a service worker.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{get, post},
};
use http::request::Parts;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    admission::{Refused, check_origin, counted, counted_visit, unauthenticated},
    http::{answer, body, is_json, settled},
    yielding::yielding,
};
use crate::{
    engine::Engine,
    hooks::UntypedCaller,
    identity::Principal,
    session::{Change, Wanted, change_push, invalid},
    wire::frame::Empty,
};

pub(crate) fn routes(engine: &Arc<Engine>) -> Router<Arc<Engine>> {
    Router::new()
        .route("/push/key", yielding(get(key), engine))
        .route("/push", yielding(post(register).delete(unregister), engine))
}

#[derive(Debug, Serialize)]
struct Key<'a> {
    key: &'a str,
}

/// What a page subscribes with, as `applicationServerKey`; it is no secret.
async fn key(State(engine): State<Arc<Engine>>, parts: Parts) -> Result<Response, Refused> {
    check_origin(&engine, &parts.headers, &parts.uri)?;
    counted_visit(&engine, &parts).await?;
    let key = engine.push.as_ref().and_then(|push| push.public_key());
    let key = key.ok_or_else(|| invalid("this server sends no pushes to browsers"))?;
    Ok(answer("pushKey", Key { key }))
}

async fn register(engine: State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    change(engine, Change::Register, request).await
}

async fn unregister(engine: State<Arc<Engine>>, request: Request) -> Result<Response, Refused> {
    change(engine, Change::Unregister, request).await
}

async fn change(
    State(engine): State<Arc<Engine>>,
    change: Change,
    request: Request,
) -> Result<Response, Refused> {
    let arrived = Instant::now();
    let (parts, mut sent) = request.into_parts();
    let outcome = change_by(&engine, change, &parts, &mut sent).await;
    settled(outcome, sent, arrived).await
}

async fn change_by(
    engine: &Arc<Engine>,
    change: Change,
    parts: &Parts,
    sent: &mut Body,
) -> Result<Response, Refused> {
    check_origin(engine, &parts.headers, &parts.uri)?;
    // The application's own backend has no device.
    let (Principal::User(user), subject) = counted(engine, parts).await? else {
        return Err(unauthenticated().into());
    };
    if change == Change::Register && !is_json(&parts.headers) {
        return Err(invalid("a POST needs `Content-Type: application/json`").into());
    }
    let sent = body(sent, engine.bounds.max_frame_bytes).await?;
    let text = std::str::from_utf8(&sent).map_err(|_| invalid("the body is not UTF-8"))?;
    let (actor, wanted) = (UntypedCaller { user, client_id: None }, Wanted::parse(text, &engine.bounds)?);
    change_push(engine, (&actor, subject.as_ref()), change, wanted).await?;
    Ok(answer("ok", Empty {}))
}
