//! What every request shows before anything else: where its page is from, and who sends it. And how it is refused.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use axum::{
    Json,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, HOST, HeaderName, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
    request::Parts,
    uri::{Authority, Uri},
};

use super::newcomer;
use crate::{
    Code, Refusal,
    engine::{Engine, draining},
    gate::{ConnectionPermit, RateLimitKey},
    identity::{Credentials, Principal, User},
    origins::{Origins, is_hidden},
    tcp::ScarceDescriptors,
    wire::frame::{Error, Frame},
};

/// Refuses pages of foreign origins.
pub(super) fn check_origin(engine: &Engine, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let mut shown = headers.get_all(ORIGIN).iter();
    // Not from a page.
    let Some(origin) = shown.next() else { return Ok(()) };
    let origin = origin.to_str().ok().filter(|_| shown.next().is_none());
    let hosts = hosts(headers, uri, engine.bounds.proxies);
    if origin.is_some_and(|origin| engine.origins.allows(origin, &hosts)) {
        return Ok(());
    }
    report(engine, origin, &hosts, headers, uri);
    Err(Refusal::new(Code::PermissionDenied, "pages of this origin may not connect"))
}

/// The names under which a browser may have called this server: `Host`, and where proxies are in front, what they say
/// that it was. No page can set these headers of a request to another origin before a preflight, which is refused,
/// allows it.
fn hosts<'a>(headers: &'a HeaderMap, uri: &'a Uri, proxies: usize) -> Vec<Cow<'a, str>> {
    // HTTP/2 has no `Host` (RFC 9113, section 8.3.1).
    let host = text(headers, HOST).or_else(|| uri.authority().map(Authority::as_str));
    let mut hosts: Vec<_> = host.into_iter().map(Cow::Borrowed).collect();
    if proxies > 0 {
        hosts.extend(last(headers, "x-forwarded-host", proxies).map(Cow::Borrowed));
        // RFC 7239, section 5.3.
        let forwarded = last(headers, "forwarded", proxies).flat_map(|element| element.split(';'));
        let named = forwarded.filter_map(|pair| {
            let (name, host) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("host").then(|| Cow::Borrowed(host.trim_matches('"')))
        });
        hosts.extend(named);
        let ports: Vec<_> = last(headers, "x-forwarded-port", proxies).collect();
        let with_port = |host: &Cow<'a, str>| {
            let name = without_port(host).to_owned();
            ports.iter().map(move |port| Cow::Owned(format!("{name}:{port}"))).collect::<Vec<_>>()
        };
        let with_ports: Vec<_> = hosts.iter().flat_map(with_port).collect();
        hosts.extend(with_ports);
    }
    hosts
}

/// The last `count` entries of a header that each proxy adds to.
fn last<'a>(headers: &'a HeaderMap, name: &'static str, count: usize) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().rev().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.rsplit(',')).map(str::trim).take(count).filter(|entry| !entry.is_empty())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Logs that a page of `origin` was refused, once for each pair of an origin and a host, and what lets it in.
fn report(engine: &Engine, origin: Option<&str>, hosts: &[Cow<'_, str>], headers: &HeaderMap, uri: &Uri) {
    const SHOWN: usize = 256;
    let origin = origin.unwrap_or("several, or no text");
    let shown = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let (origin, host) = (shown(origin), shown(hosts.first().map_or("", |host| host)));
    if !engine.origins.is_first_refusal(&origin, &host) {
        return;
    }
    let own_by_proxy =
        || engine.bounds.proxies == 0 && Origins::default().allows(&origin, &self::hosts(headers, uri, 1));
    let remedy = if is_hidden(&origin) {
        "`allow_hidden_origin()` lets in clients that hide their origin".to_owned()
    } else if own_by_proxy() {
        "`behind_proxies(1)`, so that what the proxy says of the host counts".to_owned()
    } else {
        format!(
            "if the page is yours: `allow_origin(\"{origin}\")`, or a proxy that passes `Host` on as the browser \
             sent it (nginx: `proxy_set_header Host $http_host;`)"
        )
    };
    tracing::warn!(origin, host, remedy, "pages of this origin may not connect");
}

/// Who sends an HTTP request.
async fn caller(engine: &Engine, parts: &Parts) -> Result<Principal, Refusal> {
    let caller = engine.identity.authenticate_request(credentials(parts, None)?).await?;
    if let Principal::User(user) = &caller {
        newcomer::note(&parts.extensions, user);
    }
    Ok(caller)
}

/// Who sends an HTTP request, which counts as one, and whom limits count; they don't apply to the application's backend.
///
/// While the instance drains, requests are refused, reading ones too: the client goes on with another instance sooner.
pub(super) async fn counted(
    engine: &Engine,
    parts: &Parts,
) -> Result<(Principal, Option<RateLimitKey>), Refusal> {
    if engine.drain.is_on() {
        return Err(draining());
    }
    let caller = caller(engine, parts).await;
    let subject = match &caller {
        Ok(Principal::User(user)) => Some(RateLimitKey::of_user(user, address(engine, parts))),
        Ok(Principal::Backend) => None,
        // Whoever tries tokens is counted, too.
        Err(_) => address(engine, parts).map(RateLimitKey::of_address),
    };
    if let Some(subject) = &subject {
        engine.limiter.http(subject).await?;
    }
    Ok((caller?, subject))
}

/// Counts an HTTP request of which it doesn't matter who sends it.
#[cfg(feature = "push")]
pub(super) async fn counted_visit(engine: &Engine, parts: &Parts) -> Result<(), Refusal> {
    match address(engine, parts).map(RateLimitKey::of_address) {
        Some(subject) => engine.limiter.http(&subject).await,
        None => Ok(()),
    }
}

/// Who sends a request to a route of the application's own: always a user.
pub(crate) async fn visitor(engine: &Engine, parts: &Parts) -> Result<User, Refusal> {
    if !parts.method.is_safe() {
        check_origin(engine, &parts.headers, &parts.uri)?;
    }
    match caller(engine, parts).await? {
        Principal::User(user) => Ok(user),
        Principal::Backend => Err(unauthenticated()),
    }
}

/// Who opens a connection, if that is told yet; `offered` is a token that came otherwise than as a header.
pub(super) async fn user(
    engine: &Engine,
    parts: &Parts,
    offered: Option<&str>,
) -> Result<Option<User>, Refusal> {
    let user = engine.identity.authenticate(credentials(parts, offered)?).await?;
    if let Some(user) = &user {
        newcomer::note(&parts.extensions, user);
    }
    Ok(user)
}

/// Lets a socket or a stream in that a request asks for, with where it comes from.
pub(super) fn enter(engine: &Engine, parts: &Parts) -> Result<(Option<IpAddr>, ConnectionPermit), Refusal> {
    if engine.drain.is_on() {
        return Err(draining());
    }
    if parts.extensions.get::<ScarceDescriptors>().is_some() {
        return Err(Refusal::new(Code::Unavailable, "too many connections are open; try again in a moment"));
    }
    let address = address(engine, parts);
    Ok((address, engine.doors.acquire(address)?))
}

/// Where a request comes from, as far as that is known: the other end of the socket, or whom the last of the proxies in
/// front speaks for.
pub(super) fn address(engine: &Engine, parts: &Parts) -> Option<IpAddr> {
    let peer = peer(parts).map(|peer| peer.ip());
    match engine.bounds.proxies.checked_sub(1) {
        Some(last) => spoken_for(&parts.headers, last).or(peer),
        None => {
            if FORWARDED.iter().any(|name| parts.headers.contains_key(*name)) {
                engine.doors.warn_about_proxy();
            }
            peer
        }
    }
}

/// The headers by which proxies say whom they speak for.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

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
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 11.6.1. No browser asks its user for a password because of it.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            // Whole seconds (RFC 9110, section 10.2.3), and not too early.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The token of an `Authorization: Bearer`. Other schemes are no business of ours, such as the `Basic` of a site behind
/// a password, which browsers send along with everything.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let bad = || Refusal::new(Code::Unauthenticated, "`Authorization` is `Bearer TOKEN`");
    for value in headers.get_all(AUTHORIZATION) {
        let end = value.as_bytes().iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, _) = value.as_bytes().split_at(end);
        if scheme.eq_ignore_ascii_case(b"bearer") {
            let token = value.to_str().ok().and_then(|value| value.get(end..)).unwrap_or_default().trim();
            return if token.is_empty() { Err(bad()) } else { Ok(Some(token)) };
        }
    }
    Ok(None)
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

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        lines.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    #[test]
    fn a_token_is_what_stands_behind_bearer_and_nothing_else_is() {
        let told = |values: &[&'static str]| {
            let lines: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            bearer(&headers(&lines)).map(|token| token.map(str::to_owned)).map_err(|refusal| refusal.code)
        };
        assert_eq!(told(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(told(&["Basic dTpw", "bearer  abc "]), Ok(Some("abc".to_owned())));
        for other in ["Basic dTpw", "Basic", "Digest username=\"u\"", "Negotiate abc", "Bearerabc x", ""] {
            assert_eq!(told(&[other]), Ok(None), "{other}");
        }
        for bad in ["Bearer", "Bearer  "] {
            assert_eq!(told(&[bad]), Err(Code::Unauthenticated), "{bad}");
        }
    }

    #[test]
    fn what_proxies_say_of_the_host_counts_where_there_are_some() {
        let asked = headers(&[
            ("host", "dialogue"),
            ("x-forwarded-host", "invented.example, acme.example"),
            ("x-forwarded-port", "8443"),
            ("forwarded", "for=203.0.113.7;host=\"shop.example:8443\";proto=https"),
        ]);
        let uri = Uri::from_static("/events");
        let named =
            |proxies| hosts(&asked, &uri, proxies).into_iter().map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(named(0), ["dialogue"]);
        let all = ["dialogue", "acme.example", "shop.example:8443"];
        let with_port = ["dialogue:8443", "acme.example:8443", "shop.example:8443"];
        assert_eq!(named(1), [all, with_port].concat());
        assert!(named(2).contains(&"invented.example".to_owned()));
    }

    #[test]
    fn a_port_is_told_from_an_address() {
        for (host, name) in [("a:1", "a"), ("a", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")] {
            assert_eq!(without_port(host), name);
        }
    }
}
