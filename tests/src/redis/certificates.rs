//! A CA of this test's own, and what it signs.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::RedisServer;
use crate::{Result, folder::Folder, free_port};

/// A CA of this test's own, and what it signs.
#[derive(Debug)]
pub struct Certificates {
    /// The CA's certificate.
    pub ca: String,
    /// A client's certificate and key.
    pub client: (String, String),
    /// Options of `redis-server` that make it speak TLS at a port.
    options: Vec<String>,
    _folder: Folder,
}

impl Certificates {
    /// Another CA each time.
    pub fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a CA for this test only");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let sign = |name: &str| -> Result<(String, String)> {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &ca)?;
            Ok((certificate.pem(), key.serialize_pem()))
        };
        let (certificate, key) = sign("localhost")?;
        let files = [("ca-cert", ca.pem()), ("cert", certificate), ("key", key)];
        let mut options = Vec::new();
        for (name, pem) in files {
            options.extend([format!("--tls-{name}-file"), folder.write(name, &pem)?]);
        }
        Ok(Certificates { ca: ca.pem(), client: sign("client")?, options, _folder: folder })
    }

    /// Starts a server that speaks TLS, as `localhost`, and yields its port for that.
    pub async fn server(&self, clients: &str) -> Result<(RedisServer, u16)> {
        let port = free_port()?;
        let text = port.to_string();
        let mut options = vec!["--save", "", "--tls-port", &text, "--tls-auth-clients", clients];
        options.extend(self.options.iter().map(String::as_str));
        Ok((RedisServer::with(&options).await?, port))
    }
}
