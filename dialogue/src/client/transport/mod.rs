//! The client's transports over tokio: TCP and TLS connections, HTTP/1.1, WebSocket and Server-Sent Events.

pub(crate) mod http;
pub(crate) mod sse;
#[cfg(feature = "client-tls")]
mod tls;
#[cfg(not(feature = "client-tls"))]
#[path = "without_tls.rs"]
mod tls;
pub(crate) mod websocket;

use ::http::{HeaderMap, HeaderValue, Uri, header::AUTHORIZATION};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::error::{Error, ErrorKind};

/// A TCP connection, with or without TLS.
pub(crate) type Io = Box<dyn Stream>;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A server's address, parsed from a URL such as `ws://host:port/base`.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    secure: bool,
    host: String,
    port: u16,
    authority: String,
    /// The path prefix, without a trailing slash.
    base: String,
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::new(ErrorKind::Address, format!("the url `{url}` {what}"));
        let uri: Uri = url
            .parse()
            .map_err(|error| Error::caused(ErrorKind::Address, format!("read the url `{url}`"), error))?;
        let secure = match uri.scheme_str() {
            Some("ws" | "http") => false,
            Some("wss" | "https") => true,
            _ => return Err(wrong("does not begin with ws, wss, http or https")),
        };
        if secure && !tls::IS_SUPPORTED {
            return Err(wrong("requires TLS: enable the feature `client-tls`"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("contains user information: pass tokens to `Connect::token`"));
        }
        if uri.query().is_some() {
            return Err(wrong("contains a query: remove it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Address { secure, host, port, authority: authority.to_string(), base })
    }

    async fn dial(&self) -> Result<Io, Error> {
        let attempt = || format!("connect to {}", self.authority);
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| Error::caused(ErrorKind::Connect, attempt(), error))?;
        // Frames are small and latency matters, so Nagle's algorithm is off.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "setting TCP_NODELAY failed");
        }
        if self.secure {
            return tls::wrap(&self.host, stream)
                .await
                .map_err(|error| Error::caused(ErrorKind::Connect, attempt(), error));
        }
        Ok(Box::new(stream))
    }
}

/// Returns the headers of a request: the application's, and the bearer token.
pub(crate) fn headers(given: &HeaderMap, token: Option<&str>) -> Result<HeaderMap, Error> {
    let mut headers = given.clone();
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            Error::new(
                ErrorKind::Unauthenticated,
                "the token contains characters that an HTTP header can't contain",
            )
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Percent-encodes every byte except the unreserved characters of RFC 3986, section 2.3. The dot, although unreserved,
/// is encoded too, since it separates the parts of a position.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_carry_a_base_path() {
        let address = Address::parse("ws://localhost:3000/api/").unwrap();
        assert_eq!((address.authority.as_str(), address.base.as_str()), ("localhost:3000", "/api"));
        assert_eq!(Address::parse("http://[::1]:80").unwrap().host, "::1");
        assert_eq!(Address::parse("ws://localhost").unwrap().port, 80);
    }

    #[test]
    fn an_invalid_url_is_an_address_error() {
        for url in ["localhost:3000", "ftp://h", "ws://a@h", "ws://h/?token=x", "/path"] {
            assert_eq!(Address::parse(url).unwrap_err().kind(), ErrorKind::Address, "{url}");
        }
    }

    #[test]
    fn separators_are_encoded() {
        assert_eq!(encode("project:a=b;c.d é"), "project%3Aa%3Db%3Bc%2Ed%20%C3%A9");
    }
}
