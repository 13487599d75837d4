//! The items of `tls.rs` in a build without the feature `client-tls`.

use std::io;

use tokio::net::TcpStream;

use super::Io;

/// False: a URL that begins with `wss` or `https` is refused.
pub(super) const IS_SUPPORTED: bool = false;

/// Fails: no connection has TLS.
pub(super) async fn wrap(_host: &str, _stream: TcpStream) -> io::Result<Io> {
    Err(io::ErrorKind::Unsupported.into())
}
