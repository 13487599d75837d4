//! TLS connections with rustls and ring, verified with the operating system's root certificates.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use super::Io;

/// True: a URL may begin with `wss` or `https`.
pub(super) const IS_SUPPORTED: bool = true;

/// Opens TLS on a connection to `host`.
pub(super) async fn wrap(host: &str, stream: TcpStream) -> io::Result<Io> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    // Loaded at every connection: connections are rare, and certificates may have been installed since the last one.
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    Ok(Box::new(stream))
}
