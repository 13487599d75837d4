//! What every request shows before anything else: where its page is from, and who sends it. And how it is refused.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Json,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, RETRY_AFTER},
    request::Parts,
    uri::{Authority, Uri},
};

use crate::{
    Code, Refusal,
    engine::Engine,
    gate::Subject,
    identity::{Caller, Credentials, User},
    wire::frame::{Error, Frame},
};

/// Refuses pages of foreign origins.
pub(super) fn check_origin(engine: &Engine, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    // HTTP/2 has no `Host` (RFC 9113, section 8.3.1).
    let host = text(headers, HOST).or_else(|| uri.authority().map(Authority::as_str));
    let allowed =
        |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| engine.origins.allow(origin, host));
    let mut shown = headers.get_all(ORIGIN).iter();
    match (shown.next(), shown.next()) {
        // Not from a page.
        (None, _) => Ok(()),
        (Some(origin), None) if allowed(origin) => Ok(()),
        _ => Err(Refusal::new(Code::PermissionDenied, "pages of this origin may not connect")),
    }
}

/// Who sends an HTTP request.
async fn caller(engine: &Engine, parts: &Parts) -> Result<Caller, Refusal> {
    engine.identity.caller(credentials(parts, None)?).await
}

/// Who sends an HTTP request, which counts as one, and whom limits count; they don't apply to the application's backend.
pub(super) async fn counted(engine: &Engine, parts: &Parts) -> Result<(Caller, Option<Subject>), Refusal> {
    let caller = caller(engine, parts).await;
    let subject = match &caller {
        Ok(Caller::User(user)) => Some(Subject::of(user, address(engine, parts))),
        Ok(Caller::Backend) => None,
        // Whoever tries tokens is counted, too.
        Err(_) => address(engine, parts).map(Subject::at),
    };
    if let Some(subject) = &subject {
        engine.limiter.request(subject).await?;
    }
    Ok((caller?, subject))
}

/// Who sends a request to a route of the application's own: always a user.
pub(crate) async fn visitor(engine: &Engine, parts: &Parts) -> Result<User, Refusal> {
    if !parts.method.is_safe() {
        check_origin(engine, &parts.headers, &parts.uri)?;
    }
    match caller(engine, parts).await? {
        Caller::User(user) => Ok(user),
        Caller::Backend => Err(unauthenticated()),
    }
}

/// Who opens a connection, if that is told yet; `offered` is a token that came otherwise than as a header.
pub(super) async fn user(
    engine: &Engine,
    parts: &Parts,
    offered: Option<&str>,
) -> Result<Option<User>, Refusal> {
    engine.identity.user(credentials(parts, offered)?).await
}

/// Where a request comes from, as far as that is known: the other end of the socket, or whom the last of the proxies in
/// front speaks for.
pub(super) fn address(engine: &Engine, parts: &Parts) -> Option<IpAddr> {
    let peer = peer(parts).map(|peer| peer.ip());
    match engine.limits.proxies.checked_sub(1) {
        Some(last) => spoken_for(&parts.headers, last).or(peer),
        None => peer,
    }
}

/// Whom the proxy speaks for that has `last` others behind it; of fewer, the first.
fn spoken_for(headers: &HeaderMap, last: usize) -> Option<IpAddr> {
    // Each proxy adds whom it was asked by, at the end; what stands before is the client's own invention.
    // By bytes, since what the client invents need not be text.
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let listed: Vec<_> =
        lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).take(last + 1).collect();
    let told = listed.last().and_then(|entry| std::str::from_utf8(entry).ok());
    told.map(str::trim).and_then(forwarded)
}

/// `203.0.113.7`, `2001:db8::1`, and either with a port.
fn forwarded(text: &str) -> Option<IpAddr> {
    let ip = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    ip.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

fn credentials<'a>(parts: &'a Parts, offered: Option<&'a str>) -> Result<Credentials<'a>, Refusal> {
    let peer = peer(parts);
    Ok(Credentials { token: bearer(&parts.headers)?.or(offered), headers: &parts.headers, peer })
}

/// What somebody is told who shows no token where one is required.
pub(super) fn unauthenticated() -> Refusal {
    Refusal::new(Code::Unauthenticated, "a token is required")
}

/// What every request of ours is refused with.
pub(super) struct Refused(pub(super) Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused(refusal)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// The HTTP status of its code, and an `error` frame as the body: routes of the application's own refuse as ours do.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(Frame::new("error", None, Error::from(&self)))).into_response();
        // For whoever counts refusals.
        response.extensions_mut().insert(self.code);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            // Whole seconds (RFC 9110, section 10.2.3), and not too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    if !headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let (scheme, token) =
        text(headers, AUTHORIZATION).and_then(|value| value.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(Refusal::new(Code::Unauthenticated, "`Authorization` is `Bearer TOKEN`"));
    }
    Ok(Some(token.trim()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[&[u8]], last: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).expect("a header"));
        }
        spoken_for(&headers, last).map(|address| address.to_string())
    }

    #[test]
    fn what_a_client_invents_stands_before_what_proxies_say() {
        let honest = Some("203.0.113.7".to_owned());
        assert_eq!(told(&[b"203.0.113.7"], 0), honest);
        assert_eq!(told(&[b"10.0.0.1, 203.0.113.7"], 0), honest);
        assert_eq!(told(&[b"\xff, 203.0.113.7"], 0), honest);
        assert_eq!(told(&[b"10.0.0.1", b"203.0.113.7, 10.1.1.1"], 1), honest);
        assert_eq!(told(&[b"203.0.113.7"], 1), honest);
        assert_eq!(told(&[b"203.0.113.7, \xff"], 0), None);
        assert_eq!(told(&[], 0), None);
    }
}
