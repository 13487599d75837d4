//! HTTP over TLS to providers, and what their responses mean for retries.

mod resolver;
mod response;

pub use response::{MAX_RETRY_AFTER, ProviderResponse};

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dialogue_core::push::SendOutcome;
use http::{header::AUTHORIZATION, request::Builder};
use reqwest::{Client, Request, redirect};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::ProviderError;
use resolver::FilteringResolver;

/// The time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time to send a request and read its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The time after which an idle connection to a host of a user's choice is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum of idle connections to one host of a user's choice.
const MAX_IDLE_CONNECTIONS: usize = 32;

/// The HTTP client of a provider: rustls with ring and the system's root certificates, no redirects, 5 s for a
/// connection and 20 s for a response.
///
/// It reads the system's root certificates, and is opened, with the first request.
///
/// ```
/// use dialogue_push::http::{HttpClient, HttpVersions};
///
/// # async fn run() -> Result<(), dialogue_core::push::SendOutcome> {
/// let client = HttpClient::new(HttpVersions::Any);
/// let request = http::Request::post("https://push.example/send").header("ttl", 60);
/// let response = client.send(request, b"hello".to_vec()).await?;
/// println!("{}", response.summary());
/// # Ok(())
/// # }
/// ```
pub struct HttpClient {
    versions: HttpVersions,
    /// Root certificates that are trusted in addition to the system's.
    roots: Vec<CertificateDer<'static>>,
    /// Set if users name the hosts.
    allows: Option<fn(IpAddr) -> bool>,
    client: OnceLock<Result<Client, &'static str>>,
}

/// The HTTP versions that an [`HttpClient`] offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersions {
    /// HTTP/2 or HTTP/1.1, as the server chooses.
    Any,
    /// HTTP/2 alone, with prior knowledge.
    Http2,
}

impl HttpClient {
    /// Creates a client that offers these versions.
    pub fn new(versions: HttpVersions) -> Self {
        HttpClient { versions, roots: Vec::new(), allows: None, client: OnceLock::new() }
    }

    /// Trusts the root certificates in `pem` in addition to the system's. Each call adds some.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or one can't be read.
    pub fn root_certificate(mut self, pem: &str) -> Result<Self, ProviderError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => self.roots.extend(certificates),
            _ => {
                return Err(ProviderError::new(
                    "the PEM of a root certificate has no block `-----BEGIN CERTIFICATE-----`",
                ));
            }
        }
        self.client = OnceLock::new();
        Ok(self)
    }

    /// Prepares the client for hosts that users name: names are resolved, at the time of the connection, to those of
    /// their addresses that `allows` admits (against server-side request forgery), there is no proxy, and at most 32
    /// connections to a host stay idle, for 30 s. A host that is an address is not resolved: check it before.
    #[must_use]
    pub fn hosts_of_users(mut self, allows: fn(IpAddr) -> bool) -> Self {
        self.allows = Some(allows);
        self.client = OnceLock::new();
        self
    }

    /// Sends a request with a body and reads the response.
    ///
    /// # Errors
    ///
    /// There was no response. The outcome is [`SendOutcome::Unreachable`]; [`SendOutcome::InvalidTarget`] if the host
    /// has no address that may be connected to; [`SendOutcome::Misconfigured`] if the request or the client's settings
    /// are invalid.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may have been sent.
    pub async fn send(&self, request: Builder, body: Vec<u8>) -> Result<ProviderResponse, SendOutcome> {
        let misconfigured = |reason: &str| SendOutcome::Misconfigured(reason.to_owned());
        let client =
            self.client.get_or_init(|| self.open()).as_ref().map_err(|reason| misconfigured(reason))?;
        // Their own texts may contain the URL, which may be a secret.
        let request = request.body(body).map_err(|_| misconfigured("the request is invalid"))?;
        let mut request =
            Request::try_from(request).map_err(|_| misconfigured("the request's URL is invalid"))?;
        if let Some(credentials) = request.headers_mut().get_mut(AUTHORIZATION) {
            // Never kept in HTTP/2's table of headers (RFC 7541, section 7.1.3).
            credentials.set_sensitive(true);
        }
        ProviderResponse::fetch(client.execute(request)).await
    }

    /// Opens the client. Errors are the outcome of all sends: none is known that could pass.
    fn open(&self) -> Result<Client, &'static str> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.roots.iter().cloned());
        // An explicit crypto provider, since the process may have none as its default, or another.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| "can't set up TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http2 = b"h2".to_vec();
        tls.alpn_protocols = match self.versions {
            HttpVersions::Any => vec![http2, b"http/1.1".to_vec()],
            HttpVersions::Http2 => vec![http2],
        };
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // HTTP/2 keep-alive finds a dead connection while it is idle, before a push has to wait for its timeout.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if self.versions == HttpVersions::Http2 {
            client = client.http2_prior_knowledge();
        }
        if let Some(allows) = self.allows {
            client = client
                .dns_resolver(Arc::new(FilteringResolver(allows)))
                // Users name as many services as they like, and each idle connection takes a file descriptor.
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
                // A proxy would resolve the name and connect itself, without the check of the address.
                .no_proxy();
        }
        client.build().map_err(|_| "can't set up HTTP")
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("versions", &self.versions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_without_a_response_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = HttpClient::new(HttpVersions::Any);
        let send = || client.send(http::Request::post(&url), Vec::new());
        let hangs_up = async { drop(listener.accept().await) };
        let (response, ()) = tokio::join!(send(), hangs_up);
        assert!(matches!(response, Err(SendOutcome::Unreachable(_))));
        drop(listener);
        assert!(matches!(send().await, Err(SendOutcome::Unreachable(_))));
    }

    #[tokio::test]
    async fn an_invalid_request_is_for_the_operator() {
        let client = HttpClient::new(HttpVersions::Any);
        for url in ["", "no url", "/without/host"] {
            let response = client.send(http::Request::post(url), Vec::new()).await;
            assert!(matches!(response, Err(SendOutcome::Misconfigured(_))), "{url}");
        }
    }

    #[tokio::test]
    async fn a_host_of_a_user_is_connected_to_at_allowed_addresses_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let client = HttpClient::new(HttpVersions::Any).hosts_of_users(|address| !address.is_loopback());
        let response = client.send(http::Request::post(&url), Vec::new()).await;
        assert!(matches!(response, Err(SendOutcome::InvalidTarget(_))));
        let client = client.hosts_of_users(|_| true);
        let hangs_up = async { drop(listener.accept().await) };
        let (response, ()) = tokio::join!(client.send(http::Request::post(&url), Vec::new()), hangs_up);
        assert!(matches!(response, Err(SendOutcome::Unreachable(_))));
    }

    #[test]
    fn a_root_certificate_is_in_pem() {
        for pem in ["", "AAAA", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = HttpClient::new(HttpVersions::Any).root_certificate(pem).expect_err("no certificate");
            assert!(error.to_string().contains("-----BEGIN CERTIFICATE-----"), "{error}");
        }
    }
}
