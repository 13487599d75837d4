//! FCM's API in a process of its own, which takes everything.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::Result;

/// What starts this process as the service.
pub(crate) const ARGUMENT: &str = "--fake-fcm";

/// The other process; it ends with this.
pub(crate) struct Fake {
    process: Child,
    port: String,
    authority: String,
}

impl Fake {
    pub(crate) fn start() -> Result<Self> {
        let mut process =
            Command::new(std::env::current_exe()?).arg(ARGUMENT).stdout(Stdio::piped()).spawn()?;
        let out = process.stdout.take().ok_or("the service has no output")?;
        let mut lines = BufReader::new(out).lines();
        let mut line = || {
            lines
                .next()
                .ok_or("the service says nothing")?
                .map_err(Box::<dyn std::error::Error + Send + Sync>::from)
        };
        let (port, authority) = (line()?, String::from_utf8(STANDARD.decode(line()?)?)?);
        Ok(Fake { process, port, authority })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn account(&self) -> String {
        json!({
            "type": "service_account",
            "project_id": "acme",
            "private_key": include_str!("../../tests/push/keys/rsa.pem"),
            "client_email": "push@acme.example",
            "token_uri": format!("{}/token", self.url()),
        })
        .to_string()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says where it is and whom to trust, and serves until it is killed.
pub(crate) async fn serve() -> Result {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &authority)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der())?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let mut out = std::io::stdout();
    writeln!(out, "{}\n{}", listener.local_addr()?.port(), STANDARD.encode(authority.pem()))?;
    out.flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let tls = tls.clone();
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(1_000);
            let _ = server.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request.uri().path() == "/token";
    let _ = request.into_body().collect().await;
    let body = match token {
        true => r#"{"access_token":"t","expires_in":3599}"#,
        false => r#"{"name":"projects/acme/messages/1"}"#,
    };
    Ok(Response::new(Full::from(body)))
}
