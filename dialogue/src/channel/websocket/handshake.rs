//! The opening handshake of a WebSocket (RFC 6455 section 4.2), and the subprotocols that Dialogue speaks.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};
use http::header::{
    ALLOW, AsHeaderName, CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

/// The subprotocol of JSON text frames.
const PROTOCOL: &str = "dialogue.v1";
/// What a subprotocol that carries a token begins with.
const TOKEN_PREFIX: &str = "dialogue.token.";

/// The answer that grants a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Over HTTP/1.1, 101 with this `Sec-WebSocket-Accept`.
    Switch(HeaderValue),
    /// Over HTTP/2, 200: the stream is the socket (RFC 8441, section 5).
    #[cfg(feature = "http2")]
    Stream,
}

/// Checks that a request asks for a WebSocket, and makes what grants it.
///
/// # Errors
/// The first reason not to.
pub(crate) fn accept(request: &Parts) -> Result<Grant, Refusal> {
    let headers = &request.headers;
    let version_13 =
        || single(headers, SEC_WEBSOCKET_VERSION).is_some_and(|version| version.as_bytes() == b"13");
    #[cfg(feature = "http2")]
    if request.method == Method::CONNECT {
        let protocol = request.extensions.get::<hyper::ext::Protocol>();
        if protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
            return Err(Refusal::Method);
        }
        return if version_13() { Ok(Grant::Stream) } else { Err(Refusal::WebSocketVersion) };
    }
    if request.method != Method::GET {
        return Err(Refusal::Method);
    }
    if request.version != Version::HTTP_11 {
        return Err(Refusal::HttpVersion);
    }
    if !lists(headers, CONNECTION, "upgrade") || !lists(headers, UPGRADE, "websocket") {
        return Err(Refusal::NoUpgrade);
    }
    if !version_13() {
        return Err(Refusal::WebSocketVersion);
    }
    let answer = single(headers, SEC_WEBSOCKET_KEY).and_then(|key| answer_to(key.as_bytes()));
    answer.map(Grant::Switch).ok_or(Refusal::Key)
}

/// What is chosen of the subprotocols that a client offers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subprotocol {
    /// The one to answer with; `None` if the client offered none.
    pub(crate) chosen: Option<&'static str>,
    /// The token that came in the list, unverified.
    pub(crate) token: Option<OfferedToken>,
}

impl Subprotocol {
    /// Chooses by the rules of the wire protocol: `dialogue.v1`, or none if none is offered.
    ///
    /// # Errors
    /// The client offers only what the server doesn't speak, or its token can't be read.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut choice = Subprotocol::default();
        let mut unknown = false;
        for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            let line = line.to_str().map_err(|_| Refusal::Subprotocol)?;
            for offer in list(line) {
                if offer == PROTOCOL {
                    choice.chosen = Some(PROTOCOL);
                } else if let Some(encoded) = offer.strip_prefix(TOKEN_PREFIX) {
                    let token = OfferedToken::decode(encoded)?;
                    if choice.token.replace(token).is_some() {
                        return Err(Refusal::TwoTokens);
                    }
                } else {
                    unknown = true;
                }
            }
        }
        match choice {
            Subprotocol { chosen: None, token: Some(_) } => Err(Refusal::TokenAlone),
            Subprotocol { chosen: None, token: None } if unknown => Err(Refusal::Subprotocol),
            choice => Ok(choice),
        }
    }
}

/// A token as a client showed it in its list of subprotocols. `Debug` does not show it.
#[derive(PartialEq, Eq)]
pub(crate) struct OfferedToken(String);

impl OfferedToken {
    fn decode(encoded: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Refusal::Token)?;
        match String::from_utf8(bytes) {
            Ok(token) if !token.is_empty() => Ok(OfferedToken(token)),
            _ => Err(Refusal::Token),
        }
    }

    /// The token itself, for whoever verifies it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OfferedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfferedToken(…)")
    }
}

/// The answer that opens the socket.
pub(crate) fn granted(grant: Grant, subprotocol: Option<&'static str>) -> Response<()> {
    let mut response = Response::new(());
    match grant {
        Grant::Switch(accept) => {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        #[cfg(feature = "http2")]
        Grant::Stream => {}
    }
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

/// Why a request doesn't become a WebSocket. `Display` is the message for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Method,
    HttpVersion,
    NoUpgrade,
    WebSocketVersion,
    Key,
    Subprotocol,
    TokenAlone,
    TwoTokens,
    Token,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            Refusal::Token => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The header that the status asks for.
    pub(crate) fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Refusal::Method => Some((ALLOW, HeaderValue::from_static("GET"))),
            Refusal::WebSocketVersion => Some((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            _ => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Method => "a WebSocket opens with GET",
            Refusal::HttpVersion if cfg!(feature = "http2") => {
                "a WebSocket opens over HTTP/1.1, or over HTTP/2 with CONNECT (RFC 8441)"
            }
            Refusal::HttpVersion => "a WebSocket opens over HTTP/1.1",
            Refusal::NoUpgrade => {
                "this address is a WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`"
            }
            Refusal::WebSocketVersion => "`Sec-WebSocket-Version` must be 13",
            Refusal::Key => "`Sec-WebSocket-Key` must be the Base64 of 16 bytes",
            Refusal::Subprotocol => "no subprotocol offered is spoken here: offer `dialogue.v1`, or none",
            Refusal::TokenAlone => "a subprotocol with a token comes beside `dialogue.v1`, not alone",
            Refusal::TwoTokens => "more than one token in the list of subprotocols",
            Refusal::Token => "the token in the list of subprotocols is not unpadded Base64URL of text",
        })
    }
}

/// The example of RFC 6455 section 4.1 has unused bits set in its last character, and so may a client's key.
const KEY: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The proof that the handshake was understood; `None` if the key is malformed.
fn answer_to(key: &[u8]) -> Option<HeaderValue> {
    // 24 characters decode to 18 bytes, or with padding to the 16 that the RFC asks for.
    let mut nonce = [0; 18];
    if key.len() != 24 || KEY.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

/// The header's value if it comes exactly once.
fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a header that is a list, on one line or several, has that token in any case.
fn lists(headers: &HeaderMap, name: impl AsHeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(list).any(|entry| entry.eq_ignore_ascii_case(token))
}

fn list(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    /// The good request with one header's lines replaced by others.
    fn with(name: &str, values: &[&str]) -> Result<Grant, Refusal> {
        let kept = GOOD.iter().copied().filter(|(kept, _)| *kept != name);
        let lines: Vec<_> = kept.chain(values.iter().map(|value| (name, *value))).collect();
        ask(Method::GET, Version::HTTP_11, headers(&lines))
    }

    fn ask(method: Method, version: Version, headers: HeaderMap) -> Result<Grant, Refusal> {
        accept(&request(method, version, headers))
    }

    fn request(method: Method, version: Version, headers: HeaderMap) -> Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        (parts.method, parts.version, parts.headers) = (method, version, headers);
        parts
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accepted = ask(Method::GET, Version::HTTP_11, headers(GOOD));
        assert_eq!(accepted, Ok(Grant::Switch(HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))));
    }

    #[test]
    fn requests_that_ask_otherwise_are_refused() {
        let good = || headers(GOOD);
        assert_eq!(ask(Method::POST, Version::HTTP_11, good()), Err(Refusal::Method));
        assert_eq!(ask(Method::CONNECT, Version::HTTP_11, good()), Err(Refusal::Method));
        assert_eq!(ask(Method::GET, Version::HTTP_10, good()), Err(Refusal::HttpVersion));
        assert_eq!(ask(Method::GET, Version::HTTP_2, good()), Err(Refusal::HttpVersion));
        for (name, values, refusal) in [
            ("connection", &[][..], Refusal::NoUpgrade),
            ("connection", &["close"], Refusal::NoUpgrade),
            ("upgrade", &["h2c"], Refusal::NoUpgrade),
            ("sec-websocket-version", &[], Refusal::WebSocketVersion),
            ("sec-websocket-version", &["8"], Refusal::WebSocketVersion),
            ("sec-websocket-version", &["13", "13"], Refusal::WebSocketVersion),
            ("sec-websocket-key", &[], Refusal::Key),
            ("sec-websocket-key", &["c2hvcnQ="], Refusal::Key),
            ("sec-websocket-key", &["AAAAAAAAAAAAAAAAAAAAAAAA"], Refusal::Key),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ??"], Refusal::Key),
        ] {
            assert_eq!(with(name, values), Err(refusal), "{name}: {values:?}");
        }
    }

    #[cfg(feature = "http2")]
    #[test]
    fn a_stream_of_http2_that_asks_for_the_protocol_is_accepted() {
        let ask = |protocol: Option<&'static str>, version: &str| {
            let mut parts =
                request(Method::CONNECT, Version::HTTP_2, headers(&[("sec-websocket-version", version)]));
            parts.extensions.extend(
                protocol
                    .map(|protocol| {
                        let mut extensions = http::Extensions::new();
                        extensions.insert(hyper::ext::Protocol::from_static(protocol));
                        extensions
                    })
                    .unwrap_or_default(),
            );
            accept(&parts)
        };
        assert_eq!(ask(Some("websocket"), "13"), Ok(Grant::Stream));
        assert_eq!(ask(Some("websocket"), "12"), Err(Refusal::WebSocketVersion));
        assert_eq!(ask(Some("connect-udp"), "13"), Err(Refusal::Method));
        assert_eq!(ask(None, "13"), Err(Refusal::Method));
        assert_eq!(granted(Grant::Stream, Some(PROTOCOL)).status(), 200);
    }

    #[test]
    fn lists_on_several_lines_and_loose_keys_are_accepted() {
        assert!(with("connection", &["keep-alive", "x ,, uPgRaDe"]).is_ok());
        assert!(with("upgrade", &["h2c", "websocket"]).is_ok());
        assert!(with("sec-websocket-key", &["AQIDBAUGBwgJCgsMDQ4PEC=="]).is_ok());
    }

    #[test]
    fn the_subprotocol_is_chosen_by_the_wire_protocol() {
        let token = || Some(OfferedToken("secret".into()));
        let v1 = Some(PROTOCOL);
        for (offers, choice) in [
            (&[][..], Ok((None, None))),
            (&[" "], Ok((None, None))),
            (&["dialogue.v1"], Ok((v1, None))),
            (&["graphql-ws, dialogue.v1"], Ok((v1, None))),
            (&["dialogue.v1, dialogue.token.c2VjcmV0"], Ok((v1, token()))),
            (&["dialogue.token.c2VjcmV0", "dialogue.v1"], Ok((v1, token()))),
            (&["graphql-ws"], Err(Refusal::Subprotocol)),
            (&["Dialogue.V1"], Err(Refusal::Subprotocol)),
            (&["dialogue.token.c2VjcmV0"], Err(Refusal::TokenAlone)),
            (&["dialogue.token.c2VjcmV0, graphql-ws"], Err(Refusal::TokenAlone)),
            (&["dialogue.v1, dialogue.token.YQ, dialogue.token.Yg"], Err(Refusal::TwoTokens)),
            (&["dialogue.v1, dialogue.token.!"], Err(Refusal::Token)),
            (&["dialogue.v1, dialogue.token."], Err(Refusal::Token)),
            (&["dialogue.v1, dialogue.token.YQ=="], Err(Refusal::Token)),
        ] {
            let lines: Vec<_> = offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
            let choice = choice.map(|(chosen, token)| Subprotocol { chosen, token });
            assert_eq!(Subprotocol::choose(&headers(&lines)), choice, "{offers:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = OfferedToken("secret".into());
        assert_eq!(format!("{token:?}"), "OfferedToken(…)");
        assert_eq!(token.reveal(), "secret");
    }

    #[test]
    fn answers_carry_the_headers_that_their_status_asks_for() {
        let response = granted(Grant::Switch(HeaderValue::from_static("x")), Some(PROTOCOL));
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-protocol"], PROTOCOL);
        assert_eq!(Refusal::WebSocketVersion.status(), 426);
        assert!(Refusal::WebSocketVersion.header().is_some_and(|(_, value)| value == "13"));
        assert_eq!(Refusal::Method.status(), 405);
        assert_eq!((Refusal::Key.status(), Refusal::Key.header()), (StatusCode::BAD_REQUEST, None));
    }
}
