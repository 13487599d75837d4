//! TLS for connections to Redis, by rustls with the cryptography of ring.

use std::{io, sync::Arc};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    },
};

use super::connector::ByteStream;
use crate::error::{RedisError, RedisErrorKind};

/// A TLS client for connections to all servers of a deployment.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

/// Certificates from the options, as PEM texts.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    /// The CA certificates to trust, instead of those that the system trusts.
    pub(crate) ca_certificates: Option<Vec<u8>>,
    /// The client's certificate chain and its private key.
    pub(crate) client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(crate) fn new(certificates: &Certificates) -> Result<Self, RedisError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| RedisError::caused(RedisErrorKind::Tls, "can't set up TLS", error))?
            .with_root_certificates(ca_certificates(certificates.ca_certificates.as_deref())?);
        let config = match &certificates.client_certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|_| RedisError::configuration("the client's key is no PEM of a private key"))?;
                let chain = read(chain, "the client's certificate")?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    RedisError::configuration(format!("the client's certificate can't be used: {error}"))
                })?
            }
        };
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn wrap(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn ByteStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(self.0.connect(name, stream).await?))
    }
}

fn ca_certificates(pem: Option<&[u8]>) -> Result<RootCertStore, RedisError> {
    let mut ca_certificates = RootCertStore::empty();
    let Some(pem) = pem else {
        ca_certificates.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(ca_certificates);
    };
    for certificate in read(pem, "the CA")? {
        ca_certificates.add(certificate).map_err(|error| {
            RedisError::configuration(format!("the CA's certificate can't be used: {error}"))
        })?;
    }
    Ok(ca_certificates)
}

fn read(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, RedisError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    certificates
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| RedisError::configuration(format!("{name} is no PEM of certificates")))
}
