//! A service over TLS that answers as it is told to.

mod apple;
mod browser;
mod google;
mod jws;
mod leaver;

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, Version, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

pub(crate) use apple::{Apple, KEY_ID, TEAM_ID, TOPIC, reason as apns_reason};
pub(crate) use browser::Browser;
pub(crate) use google::{Google, error as fcm_error};
pub(crate) use leaver::Leaver;

use crate::Result;

/// What came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The host that it is for, as the client calls it.
    pub(crate) host: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
    /// What was answered.
    pub(crate) status: u16,
    /// Which of the connections.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What to answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What checks a request as the real service does: `Err` is its refusal.
pub(crate) type Check = Box<dyn Fn(&Seen) -> Result<Answer, Answer> + Send + Sync>;

/// See the [module](self).
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: tokio::sync::Mutex<mpsc::UnboundedReceiver<Seen>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    /// Tells each connection to be the last of its kind.
    renew: watch::Sender<()>,
}

impl Service {
    pub(crate) async fn start(check: Check) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, seen) = mpsc::unbounded_channel();
        let script = Arc::new(Mutex::new(VecDeque::new()));
        let desk = Arc::new(Desk { check, script: Arc::clone(&script), sender });
        let tls = TlsAcceptor::from(authority().server()?);
        let renew = watch::Sender::new(());
        let renewed = renew.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (tls, desk, mut renewed) = (tls.clone(), Arc::clone(&desk), renewed.subscribe());
                tokio::spawn(async move {
                    let Ok((stream, mut client)) = twice(stream) else { return };
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let answer = service_fn(|request| Desk::answer(Arc::clone(&desk), connection, request));
                    let server = auto::Builder::new(TokioExecutor::new());
                    let mut serving = std::pin::pin!(server.serve_connection(TokioIo::new(stream), answer));
                    // A client that goes is no failure.
                    tokio::select! {
                        _ = serving.as_mut() => return,
                        _ = renewed.changed() => serving.as_mut().graceful_shutdown(),
                    }
                    let _ = serving.await;
                    // The client closes its end once it has noticed.
                    let _ = client.read_to_end(&mut Vec::new()).await;
                });
            }
        });
        Ok(Service { address, seen: tokio::sync::Mutex::new(seen), script, renew })
    }

    /// One that takes every request and answers none.
    pub(crate) async fn silent() -> Result<Self> {
        Self::start(Box::new(|_| Ok(Answer::new(NEVER, "")))).await
    }

    /// Sends GOAWAY on every connection: what is under way is answered still, anything else goes over another.
    pub(crate) fn go_away(&self) {
        self.renew.send_replace(());
    }

    /// Waits until all connections that were sent GOAWAY are closed, by their client too.
    pub(crate) async fn has_gone_away(&self) -> Result<()> {
        deadline::within(Duration::from_secs(20), "the end of each connection", self.renew.closed()).await?;
        Ok(())
    }

    /// The next request that passes the checks is answered so; the others after it as a matter of course.
    pub(crate) fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().expect("nobody panicked").extend(answers);
    }

    /// The next request.
    pub(crate) async fn next(&self) -> Result<Seen> {
        let seen = async { self.seen.lock().await.recv().await };
        let seen = deadline::within(Duration::from_secs(20), "a request", seen).await?;
        seen.ok_or_else(|| "the service is gone".into())
    }

    /// The requests that came so far.
    pub(crate) async fn so_far(&self) -> Vec<Seen> {
        let mut seen = self.seen.lock().await;
        std::iter::from_fn(|| seen.try_recv().ok()).collect()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }
}

/// A connection, and once more to see how it ends.
fn twice(stream: TcpStream) -> Result<(TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    let again = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(again)?))
}

/// The status of an answer that never comes.
const NEVER: u16 = 0;

struct Desk {
    check: Check,
    script: Arc<Mutex<VecDeque<Answer>>>,
    sender: mpsc::UnboundedSender<Seen>,
}

impl Desk {
    async fn answer(
        self: Arc<Self>,
        connection: usize,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let host = parts.headers.get("host").and_then(|host| host.to_str().ok());
        let host = host.or_else(|| parts.uri.authority().map(|host| host.as_str())).unwrap_or_default();
        let mut seen = Seen {
            host: host.to_owned(),
            version: parts.version,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers,
            body,
            status: 0,
            connection,
        };
        let answer = match (self.check)(&seen) {
            // Of what is well formed, the script says what becomes; a token's request isn't in it.
            Ok(usual) if seen.path == "/token" => usual,
            Ok(usual) => self.script.lock().expect("nobody panicked").pop_front().unwrap_or(usual),
            Err(refusal) => refusal,
        };
        seen.status = answer.status;
        if answer.status == NEVER {
            let _ = self.sender.send(seen);
            return std::future::pending().await;
        }
        let response = Response::builder().status(answer.status);
        let response =
            answer.headers.iter().fold(response, |response, (name, value)| response.header(*name, value));
        let _ = self.sender.send(seen);
        Ok(response.body(Full::from(answer.body)).expect("a response"))
    }
}

/// The certificate authority of these tests.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

pub(crate) fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| Authority::new().expect("a certificate"))
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Authority(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn server(&self) -> Result<Arc<ServerConfig>> {
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.0)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
