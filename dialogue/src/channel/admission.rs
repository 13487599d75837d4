//! The checks that every request passes first: the origin of its page, the client's address, authentication, and bounds
//! and rate limits. Also the response of a refused request.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use axum::{
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST, HeaderName, ORIGIN},
    request::Parts,
    uri::{Authority, Uri},
};

use super::{anonymous_token, tcp::ScarceDescriptors};
use crate::{
    Code, Refusal,
    drain::draining,
    engine::{
        Engine,
        origins::{Origins, is_hidden},
    },
    identity::{Credentials, Principal, User},
    limits::{ConnectionPermit, RateLimitKey},
};

/// Refuses requests of pages of foreign origins, against cross-site request forgery and cross-site WebSocket hijacking.
/// Requests without an `Origin` (RFC 6454) don't come from a page, or are same-origin reads.
pub(super) fn check_origin(engine: &Engine, headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let mut values = headers.get_all(ORIGIN).iter();
    let Some(origin) = values.next() else { return Ok(()) };
    let origin = origin.to_str().ok().filter(|_| values.next().is_none());
    let hosts = hosts(headers, uri, engine.bounds.clients.proxies);
    if origin.is_some_and(|origin| engine.admission.origins.allows(origin, &hosts)) {
        return Ok(());
    }
    log_foreign_origin(engine, origin, &hosts, headers, uri);
    Err(Refusal::new(Code::PermissionDenied, "pages of this origin may not connect"))
}

/// Returns the host names by which a browser may have addressed this server: the `Host` header, and with proxies in
/// front, the hosts that they forward. A page can't forge these headers: on a request to another origin, they need a
/// preflight, which is refused.
fn hosts<'a>(headers: &'a HeaderMap, uri: &'a Uri, proxies: usize) -> Vec<Cow<'a, str>> {
    // HTTP/2 has no `Host` (RFC 9113, section 8.3.1).
    let host = text(headers, HOST).or_else(|| uri.authority().map(Authority::as_str));
    let mut hosts: Vec<_> = host.into_iter().map(Cow::Borrowed).collect();
    if proxies > 0 {
        hosts.extend(last_entries(headers, "x-forwarded-host", proxies).map(Cow::Borrowed));
        // RFC 7239, section 5.3.
        let forwarded = last_entries(headers, "forwarded", proxies).flat_map(|element| element.split(';'));
        let named = forwarded.filter_map(|pair| {
            let (name, host) = pair.trim().split_once('=')?;
            name.eq_ignore_ascii_case("host").then(|| Cow::Borrowed(host.trim_matches('"')))
        });
        hosts.extend(named);
        let ports: Vec<_> = last_entries(headers, "x-forwarded-port", proxies).collect();
        let with_port = |host: &Cow<'a, str>| {
            let name = without_port(host).to_owned();
            ports.iter().map(move |port| Cow::Owned(format!("{name}:{port}"))).collect::<Vec<_>>()
        };
        let with_ports: Vec<_> = hosts.iter().flat_map(with_port).collect();
        hosts.extend(with_ports);
    }
    hosts
}

/// Returns the last `count` entries of a header to which each proxy appends one.
fn last_entries<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
    count: usize,
) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().rev().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.rsplit(',')).map(str::trim).take(count).filter(|entry| !entry.is_empty())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address are within brackets.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Logs that a page of `origin` was refused and the setting that would allow it, once for each pair of an origin and a
/// host.
fn log_foreign_origin(
    engine: &Engine,
    origin: Option<&str>,
    hosts: &[Cow<'_, str>],
    headers: &HeaderMap,
    uri: &Uri,
) {
    const MAX_LOGGED_CHARS: usize = 256;
    let origin = origin.unwrap_or("several, or no text");
    let truncate = |text: &str| text.chars().take(MAX_LOGGED_CHARS).collect::<String>();
    let (origin, host) = (truncate(origin), truncate(hosts.first().map_or("", |host| host)));
    if !engine.admission.origins.is_first_refusal(&origin, &host) {
        return;
    }
    let is_own_behind_proxy = || {
        engine.bounds.clients.proxies == 0
            && Origins::default().allows(&origin, &self::hosts(headers, uri, 1))
    };
    let remedy = if is_hidden(&origin) {
        "`allow_hidden_origin()` lets in clients that hide their origin".to_owned()
    } else if is_own_behind_proxy() {
        "`behind_proxies(1)`, so that the host that the proxy forwards is used".to_owned()
    } else {
        format!(
            "if the page is yours: `allow_origin(\"{origin}\")`, or a proxy that passes `Host` on as the browser \
             sent it (nginx: `proxy_set_header Host $http_host;`)"
        )
    };
    tracing::warn!(origin, host, remedy, "pages of this origin may not connect");
}

/// Authenticates an HTTP request.
async fn authenticate(engine: &Engine, parts: &Parts) -> Result<Principal, Refusal> {
    let caller = engine.admission.identity.authenticate_request(credentials(parts, None)?).await?;
    if let Principal::User(user) = &caller {
        anonymous_token::record(&parts.extensions, user);
    }
    Ok(caller)
}

/// Authenticates an HTTP request and counts it against its rate limit. Returns the caller, and the key that rate
/// limits count by; `None` for the application's backend, to which they don't apply.
///
/// While the node drains, all requests are refused, reads included, so that clients move to another node sooner.
pub(super) async fn admit_request(
    engine: &Engine,
    parts: &Parts,
) -> Result<(Principal, Option<RateLimitKey>), Refusal> {
    if engine.drain.is_on() {
        return Err(draining());
    }
    let caller = authenticate(engine, parts).await;
    let rate_limit_key = match &caller {
        Ok(Principal::User(user)) => Some(RateLimitKey::of_user(&user.id, address(engine, parts))),
        Ok(Principal::Backend) => None,
        // Failed attempts count by address, against guessing of tokens.
        Err(_) => address(engine, parts).map(RateLimitKey::of_address),
    };
    if let Some(key) = &rate_limit_key {
        engine.admission.limiter.http(key).await?;
    }
    Ok((caller?, rate_limit_key))
}

/// Counts an HTTP request that needs no authentication against the rate limit of its address.
pub(super) async fn admit_unauthenticated(engine: &Engine, parts: &Parts) -> Result<(), Refusal> {
    match address(engine, parts).map(RateLimitKey::of_address) {
        Some(subject) => engine.admission.limiter.http(&subject).await,
        None => Ok(()),
    }
}

/// Authenticates a request to a route of the application's own. The application's backend is refused: it is no user.
pub(crate) async fn visitor(engine: &Engine, parts: &Parts) -> Result<User, Refusal> {
    if !parts.method.is_safe() {
        check_origin(engine, &parts.headers, &parts.uri)?;
    }
    match authenticate(engine, parts).await? {
        Principal::User(user) => Ok(user),
        Principal::Backend => Err(token_required()),
    }
}

/// Authenticates the user who opens a connection; `None` if the request has no token yet. `offered` is a token that
/// came in another place than the `Authorization` header.
pub(super) async fn authenticate_user(
    engine: &Engine,
    parts: &Parts,
    offered: Option<&str>,
) -> Result<Option<User>, Refusal> {
    let user = engine.admission.identity.authenticate(credentials(parts, offered)?).await?;
    if let Some(user) = &user {
        anonymous_token::record(&parts.extensions, user);
    }
    Ok(user)
}

/// Checks the bounds for a new WebSocket or event stream, and returns the client's address and the slot that the
/// connection takes under the bound of that address.
pub(super) fn admit_connection(
    engine: &Engine,
    parts: &Parts,
) -> Result<(Option<IpAddr>, ConnectionPermit), Refusal> {
    if engine.drain.is_on() {
        return Err(draining());
    }
    if parts.extensions.get::<ScarceDescriptors>().is_some() {
        return Err(Refusal::new(Code::Unavailable, "too many connections are open; try again in a moment"));
    }
    let address = address(engine, parts);
    Ok((address, engine.admission.connection_limiter.acquire(address)?))
}

/// Returns the address of the client, if it is known: the peer of the TCP connection, or with proxies in front, the
/// address that the outermost of them forwards.
pub(super) fn address(engine: &Engine, parts: &Parts) -> Option<IpAddr> {
    let peer = peer(parts).map(|peer| peer.ip());
    match engine.bounds.clients.proxies.checked_sub(1) {
        Some(inner) => forwarded_for(&parts.headers, inner).or(peer),
        None => {
            if FORWARDED.iter().any(|name| parts.headers.contains_key(*name)) {
                engine.admission.connection_limiter.warn_about_proxy();
            }
            peer
        }
    }
}

/// The headers in which proxies forward the client's address. `Forwarded` is RFC 7239.
const FORWARDED: [&str; 3] = ["x-forwarded-for", "forwarded", "x-real-ip"];

/// Returns the address in `X-Forwarded-For` that was appended by the proxy with `inner` further proxies between it and
/// this server; with fewer entries, the first.
fn forwarded_for(headers: &HeaderMap, inner: usize) -> Option<IpAddr> {
    // Each proxy appends the address of its own client; entries before those may be forged.
    // Split by bytes, since forged entries need not be text.
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let listed: Vec<_> =
        lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).take(inner + 1).collect();
    let entry = listed.last().and_then(|entry| std::str::from_utf8(entry).ok());
    entry.map(str::trim).and_then(parse_address)
}

/// Parses `203.0.113.7` or `2001:db8::1`, either with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let ip = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    ip.or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

fn peer(parts: &Parts) -> Option<SocketAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer)
}

fn credentials<'a>(parts: &'a Parts, offered: Option<&'a str>) -> Result<Credentials<'a>, Refusal> {
    let peer = peer(parts);
    Ok(Credentials::new(&parts.headers).with_token(bearer(&parts.headers)?.or(offered)).with_peer(peer))
}

/// Returns the refusal of a request without a token where one is required.
pub(super) fn token_required() -> Refusal {
    Refusal::new(Code::Unauthenticated, "a token is required")
}

/// The error type of this crate's handlers.
pub(super) struct RefusalResponse(pub(super) Refusal);

impl From<Refusal> for RefusalResponse {
    fn from(refusal: Refusal) -> Self {
        RefusalResponse(refusal)
    }
}

impl IntoResponse for RefusalResponse {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// Returns the token of an `Authorization: Bearer` header (RFC 6750). Other schemes are ignored, such as the `Basic` of
/// a password-protected site, which browsers add to all requests.
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
    use http::HeaderValue;

    use super::*;

    fn address_in(lines: &[&[u8]], inner: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).expect("a header"));
        }
        forwarded_for(&headers, inner).map(|address| address.to_string())
    }

    #[test]
    fn the_entries_of_proxies_count_and_forged_ones_do_not() {
        let client = Some("203.0.113.7".to_owned());
        assert_eq!(address_in(&[b"203.0.113.7"], 0), client);
        assert_eq!(address_in(&[b"10.0.0.1, 203.0.113.7"], 0), client);
        assert_eq!(address_in(&[b"\xff, 203.0.113.7"], 0), client);
        assert_eq!(address_in(&[b"10.0.0.1", b"203.0.113.7, 10.1.1.1"], 1), client);
        assert_eq!(address_in(&[b"203.0.113.7"], 1), client);
        assert_eq!(address_in(&[b"203.0.113.7, \xff"], 0), None);
        assert_eq!(address_in(&[], 0), None);
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
    fn only_the_scheme_bearer_carries_a_token() {
        let parsed = |values: &[&'static str]| {
            let lines: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            bearer(&headers(&lines)).map(|token| token.map(str::to_owned)).map_err(|refusal| refusal.code)
        };
        assert_eq!(parsed(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(parsed(&["Basic dTpw", "bearer  abc "]), Ok(Some("abc".to_owned())));
        for other in ["Basic dTpw", "Basic", "Digest username=\"u\"", "Negotiate abc", "Bearerabc x", ""] {
            assert_eq!(parsed(&[other]), Ok(None), "{other}");
        }
        for bad in ["Bearer", "Bearer  "] {
            assert_eq!(parsed(&[bad]), Err(Code::Unauthenticated), "{bad}");
        }
    }

    #[test]
    fn forwarded_hosts_count_only_behind_proxies() {
        let request = headers(&[
            ("host", "dialogue"),
            ("x-forwarded-host", "invented.example, acme.example"),
            ("x-forwarded-port", "8443"),
            ("forwarded", "for=203.0.113.7;host=\"shop.example:8443\";proto=https"),
        ]);
        let uri = Uri::from_static("/events");
        let named =
            |proxies| hosts(&request, &uri, proxies).into_iter().map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(named(0), ["dialogue"]);
        let all = ["dialogue", "acme.example", "shop.example:8443"];
        let with_port = ["dialogue:8443", "acme.example:8443", "shop.example:8443"];
        assert_eq!(named(1), [all, with_port].concat());
        assert!(named(2).contains(&"invented.example".to_owned()));
    }

    #[test]
    fn a_port_is_removed_but_not_a_part_of_an_address() {
        for (host, name) in [("a:1", "a"), ("a", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("", "")] {
            assert_eq!(without_port(host), name);
        }
    }
}
