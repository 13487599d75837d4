//! The server side of the WebSocket opening handshake (RFC 6455, section 4.2; over HTTP/2, RFC 8441), and the
//! subprotocols of Dialogue.

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

use crate::channel::http2::{WEBSOCKET_VERSIONS, is_websocket_connect};

/// The subprotocol of JSON text frames.
const PROTOCOL: &str = "dialogue.v1";
/// The prefix of a subprotocol that carries a token: browsers can't set other headers on a handshake.
const TOKEN_PREFIX: &str = "dialogue.token.";

/// The form of the response that accepts a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Over HTTP/1.1, status 101 with this `Sec-WebSocket-Accept`.
    Switch(HeaderValue),
    /// Over HTTP/2, status 200: the stream becomes the connection (RFC 8441, section 5).
    Stream,
}

/// Validates a handshake request, and returns the form of the response that accepts it.
///
/// # Errors
/// The first fault of the request.
pub(crate) fn accept(request: &Parts) -> Result<Grant, HandshakeError> {
    let headers = &request.headers;
    let version_13 =
        || single(headers, SEC_WEBSOCKET_VERSION).is_some_and(|version| version.as_bytes() == b"13");
    if is_websocket_connect(request) {
        return if version_13() { Ok(Grant::Stream) } else { Err(HandshakeError::WebSocketVersion) };
    }
    if request.method != Method::GET {
        return Err(HandshakeError::Method);
    }
    if request.version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    if !lists(headers, CONNECTION, "upgrade") || !lists(headers, UPGRADE, "websocket") {
        return Err(HandshakeError::NoUpgrade);
    }
    if !version_13() {
        return Err(HandshakeError::WebSocketVersion);
    }
    let accept = single(headers, SEC_WEBSOCKET_KEY).and_then(|key| accept_value(key.as_bytes()));
    accept.map(Grant::Switch).ok_or(HandshakeError::Key)
}

/// The subprotocol and the token that the client's list of subprotocols contains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Subprotocol {
    /// The selected subprotocol; `None` if the client offered none.
    pub(crate) chosen: Option<&'static str>,
    /// The token in the list, not verified yet.
    pub(crate) token: Option<SubprotocolToken>,
}

impl Subprotocol {
    /// Selects `dialogue.v1` from the client's list, or none if the list is empty.
    ///
    /// # Errors
    /// The client offers only unsupported subprotocols, or its token is malformed.
    pub(crate) fn choose(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        let mut choice = Subprotocol::default();
        let mut unknown = false;
        for line in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
            let line = line.to_str().map_err(|_| HandshakeError::Subprotocol)?;
            for offer in list(line) {
                if offer == PROTOCOL {
                    choice.chosen = Some(PROTOCOL);
                } else if let Some(encoded) = offer.strip_prefix(TOKEN_PREFIX) {
                    let token = SubprotocolToken::decode(encoded)?;
                    if choice.token.replace(token).is_some() {
                        return Err(HandshakeError::TwoTokens);
                    }
                } else {
                    unknown = true;
                }
            }
        }
        match choice {
            Subprotocol { chosen: None, token: Some(_) } => Err(HandshakeError::TokenAlone),
            Subprotocol { chosen: None, token: None } if unknown => Err(HandshakeError::Subprotocol),
            choice => Ok(choice),
        }
    }
}

/// A token from the list of subprotocols. `Debug` doesn't show it.
#[derive(PartialEq, Eq)]
pub(crate) struct SubprotocolToken(String);

impl SubprotocolToken {
    fn decode(encoded: &str) -> Result<Self, HandshakeError> {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| HandshakeError::Token)?;
        match String::from_utf8(bytes) {
            Ok(token) if !token.is_empty() => Ok(SubprotocolToken(token)),
            _ => Err(HandshakeError::Token),
        }
    }

    /// Returns the token, for its verification.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SubprotocolToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubprotocolToken(…)")
    }
}

/// Returns the response that accepts a handshake.
pub(crate) fn accepted(grant: Grant, subprotocol: Option<&'static str>) -> Response<()> {
    let mut response = Response::new(());
    match grant {
        Grant::Switch(accept) => {
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        Grant::Stream => {}
    }
    if let Some(subprotocol) = subprotocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    response
}

/// A fault of a handshake request. `Display` is the message for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeError {
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

impl HandshakeError {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            HandshakeError::Method => StatusCode::METHOD_NOT_ALLOWED,
            HandshakeError::WebSocketVersion => StatusCode::UPGRADE_REQUIRED,
            HandshakeError::Token => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the header that the status requires.
    pub(crate) fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            HandshakeError::Method => Some((ALLOW, HeaderValue::from_static("GET"))),
            HandshakeError::WebSocketVersion => Some((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))),
            _ => None,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::Method => "a WebSocket opens with GET",
            HandshakeError::HttpVersion => WEBSOCKET_VERSIONS,
            HandshakeError::NoUpgrade => {
                "this address is a WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`"
            }
            HandshakeError::WebSocketVersion => "`Sec-WebSocket-Version` must be 13",
            HandshakeError::Key => "`Sec-WebSocket-Key` must be the Base64 of 16 bytes",
            HandshakeError::Subprotocol => {
                "none of the offered subprotocols is supported: offer `dialogue.v1`, or none"
            }
            HandshakeError::TokenAlone => {
                "a subprotocol with a token must be offered together with `dialogue.v1`"
            }
            HandshakeError::TwoTokens => "more than one token in the list of subprotocols",
            HandshakeError::Token => {
                "the token in the list of subprotocols is not unpadded Base64URL of text"
            }
        })
    }
}

/// The encoding of keys. The example in RFC 6455, section 4.1 has unused bits set in its last character, so those of
/// clients may.
const KEY_ENCODING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Returns the `Sec-WebSocket-Accept` for a key (RFC 6455, section 4.2.2); `None` if the key is malformed.
fn accept_value(key: &[u8]) -> Option<HeaderValue> {
    // 24 characters decode to 18 bytes, or with padding to the required 16.
    let mut nonce = [0; 18];
    if key.len() != 24 || KEY_ENCODING.decode_slice(key, &mut nonce) != Ok(16) {
        return None;
    }
    let digest =
        Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

/// Returns the value of a header that occurs exactly once.
fn single(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Returns whether a list header, on one or several lines, contains a token, compared without case.
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

    /// Validates a good request with the lines of one header replaced.
    fn with(name: &str, values: &[&str]) -> Result<Grant, HandshakeError> {
        let kept = GOOD.iter().copied().filter(|(kept, _)| *kept != name);
        let lines: Vec<_> = kept.chain(values.iter().map(|value| (name, *value))).collect();
        ask(Method::GET, Version::HTTP_11, headers(&lines))
    }

    fn ask(method: Method, version: Version, headers: HeaderMap) -> Result<Grant, HandshakeError> {
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
    fn invalid_handshakes_are_refused() {
        let good = || headers(GOOD);
        assert_eq!(ask(Method::POST, Version::HTTP_11, good()), Err(HandshakeError::Method));
        assert_eq!(ask(Method::CONNECT, Version::HTTP_11, good()), Err(HandshakeError::Method));
        assert_eq!(ask(Method::GET, Version::HTTP_10, good()), Err(HandshakeError::HttpVersion));
        assert_eq!(ask(Method::GET, Version::HTTP_2, good()), Err(HandshakeError::HttpVersion));
        for (name, values, refusal) in [
            ("connection", &[][..], HandshakeError::NoUpgrade),
            ("connection", &["close"], HandshakeError::NoUpgrade),
            ("upgrade", &["h2c"], HandshakeError::NoUpgrade),
            ("sec-websocket-version", &[], HandshakeError::WebSocketVersion),
            ("sec-websocket-version", &["8"], HandshakeError::WebSocketVersion),
            ("sec-websocket-version", &["13", "13"], HandshakeError::WebSocketVersion),
            ("sec-websocket-key", &[], HandshakeError::Key),
            ("sec-websocket-key", &["c2hvcnQ="], HandshakeError::Key),
            ("sec-websocket-key", &["AAAAAAAAAAAAAAAAAAAAAAAA"], HandshakeError::Key),
            ("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ??"], HandshakeError::Key),
        ] {
            assert_eq!(with(name, values), Err(refusal), "{name}: {values:?}");
        }
    }

    #[test]
    fn lists_on_several_lines_and_loose_keys_are_accepted() {
        assert!(with("connection", &["keep-alive", "x ,, uPgRaDe"]).is_ok());
        assert!(with("upgrade", &["h2c", "websocket"]).is_ok());
        assert!(with("sec-websocket-key", &["AQIDBAUGBwgJCgsMDQ4PEC=="]).is_ok());
    }

    #[test]
    fn the_subprotocol_and_the_token_are_selected() {
        let token = || Some(SubprotocolToken("secret".into()));
        let v1 = Some(PROTOCOL);
        for (offers, choice) in [
            (&[][..], Ok((None, None))),
            (&[" "], Ok((None, None))),
            (&["dialogue.v1"], Ok((v1, None))),
            (&["graphql-ws, dialogue.v1"], Ok((v1, None))),
            (&["dialogue.v1, dialogue.token.c2VjcmV0"], Ok((v1, token()))),
            (&["dialogue.token.c2VjcmV0", "dialogue.v1"], Ok((v1, token()))),
            (&["graphql-ws"], Err(HandshakeError::Subprotocol)),
            (&["Dialogue.V1"], Err(HandshakeError::Subprotocol)),
            (&["dialogue.token.c2VjcmV0"], Err(HandshakeError::TokenAlone)),
            (&["dialogue.token.c2VjcmV0, graphql-ws"], Err(HandshakeError::TokenAlone)),
            (&["dialogue.v1, dialogue.token.YQ, dialogue.token.Yg"], Err(HandshakeError::TwoTokens)),
            (&["dialogue.v1, dialogue.token.!"], Err(HandshakeError::Token)),
            (&["dialogue.v1, dialogue.token."], Err(HandshakeError::Token)),
            (&["dialogue.v1, dialogue.token.YQ=="], Err(HandshakeError::Token)),
        ] {
            let lines: Vec<_> = offers.iter().map(|offer| ("sec-websocket-protocol", *offer)).collect();
            let choice = choice.map(|(chosen, token)| Subprotocol { chosen, token });
            assert_eq!(Subprotocol::choose(&headers(&lines)), choice, "{offers:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let token = SubprotocolToken("secret".into());
        assert_eq!(format!("{token:?}"), "SubprotocolToken(…)");
        assert_eq!(token.reveal(), "secret");
    }

    #[test]
    fn responses_carry_the_headers_that_their_status_requires() {
        let response = accepted(Grant::Switch(HeaderValue::from_static("x")), Some(PROTOCOL));
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-protocol"], PROTOCOL);
        assert_eq!(HandshakeError::WebSocketVersion.status(), 426);
        assert!(HandshakeError::WebSocketVersion.header().is_some_and(|(_, value)| value == "13"));
        assert_eq!(HandshakeError::Method.status(), 405);
        assert_eq!(
            (HandshakeError::Key.status(), HandshakeError::Key.header()),
            (StatusCode::BAD_REQUEST, None)
        );
    }
}
