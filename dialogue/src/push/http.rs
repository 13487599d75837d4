//! HTTP over TLS to providers, and what their responses mean for retries. All built-in providers use it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Response, redirect};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

#[cfg(feature = "webpush")]
use super::endpoint::NonPublicAddress;
use super::{PushError, SendOutcome};

/// The time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time to send a request and read its response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a response's body that are read; the rest is dropped.
const MAX_BODY_BYTES: usize = 8 << 10;
/// The longest `Retry-After` that is obeyed. A longer one is a mistake of the provider.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Root certificates that are trusted in addition to the system's.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustedRoots(Vec<CertificateDer<'static>>);

/// The HTTP versions that a client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpVersions {
    Any,
    /// HTTP/2 alone, with prior knowledge.
    Http2,
}

impl TrustedRoots {
    pub(super) fn add(&mut self, pem: &str) -> Result<(), PushError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => self.0.extend(certificates),
            _ => {
                return Err(PushError::new(
                    "the PEM of a root certificate has no block `-----BEGIN CERTIFICATE-----`",
                ));
            }
        }
        Ok(())
    }

    /// Returns a builder of a client that follows no redirects.
    pub(super) fn client(&self, versions: HttpVersions) -> Result<ClientBuilder, PushError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.0.iter().cloned());
        // An explicit crypto provider, since the process may have none as its default, or another.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| PushError::new("can't set up TLS"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http2 = b"h2".to_vec();
        tls.alpn_protocols = match versions {
            HttpVersions::Any => vec![http2, b"http/1.1".to_vec()],
            HttpVersions::Http2 => vec![http2],
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            // HTTP/2 keep-alive finds a dead connection while it is idle, before a push has to wait for its timeout.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        Ok(match versions {
            HttpVersions::Any => client,
            HttpVersions::Http2 => client.http2_prior_knowledge(),
        })
    }
}

pub(super) fn build(client: ClientBuilder) -> Result<Client, PushError> {
    client.build().map_err(|_| PushError::new("can't set up HTTP"))
}

/// The parts of a provider's response that matter.
pub(super) struct ProviderResponse {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl ProviderResponse {
    /// Sends a request and reads its response.
    ///
    /// # Errors
    ///
    /// There was no response: the outcome is [`SendOutcome::Unreachable`], or [`SendOutcome::InvalidTarget`] if the
    /// host's addresses are all private.
    pub(super) async fn fetch(request: reqwest::RequestBuilder) -> Result<Self, SendOutcome> {
        let response = request.send().await.map_err(|error| failure_outcome(&error))?;
        let (status, retry_after) =
            (response.status(), parse_retry_after(response.headers(), SystemTime::now()));
        Ok(ProviderResponse { status, retry_after, body: read(response).await })
    }

    /// Returns the status and the first 200 characters of the body, without control characters, for the log.
    pub(super) fn summary(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        format!("HTTP {} {}", self.status.as_u16(), text.trim()).trim_end().to_owned()
    }

    pub(super) fn retry_outcome(&self, reason: String) -> SendOutcome {
        SendOutcome::Retry { reason, after: self.retry_after }
    }
}

/// Reads the first [`MAX_BODY_BYTES`] of a body. An error ends the body: the status says enough.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let free = MAX_BODY_BYTES.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..free).unwrap_or(&chunk));
        if chunk.len() > free {
            break;
        }
    }
    body
}

/// Returns the outcome of a request without a response. Its text leaves out the URL, which may be a secret.
fn failure_outcome(error: &reqwest::Error) -> SendOutcome {
    #[cfg(feature = "webpush")]
    if NonPublicAddress::is_cause_of(error) {
        return SendOutcome::InvalidTarget(NonPublicAddress.to_string());
    }
    let mut causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    let what = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "no connection",
        () => "no answer",
    };
    let reason = match causes.by_ref().last() {
        Some(cause) => format!("{what}: {cause}"),
        None => what.to_owned(),
    };
    SendOutcome::Unreachable(reason)
}

/// Parses `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn parse_retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_date(text)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// Parses an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). The two obsolete forms are not
/// supported.
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
    let mut parts = rest.split([' ', ':']);
    let day: u64 = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let month = u64::try_from(MONTHS.iter().position(|known| *known == month)?).ok()?;
    let mut numbers = parts.map(|part| part.parse::<u64>().ok());
    let (year, hour) = (numbers.next()??, numbers.next()??);
    let (minute, second) = (numbers.next()??, numbers.next()??);
    if !(1970..10_000).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    // Days since 1970-01-01. The year begins in March, so that a leap day is its last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = days.checked_sub(719_468)? * 86_400 + hour * 3_600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(value: &str, now: u64) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        parse_retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("120", 0), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30), Some(30));
        assert_eq!(after("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800 - 1), Some(1));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 800_000_000), Some(0));
        assert_eq!(after("86400", 0), Some(3_600));
        assert_eq!((after("soon", 0), after("Sun, 06 Xxx 1994 08:49:37 GMT", 0)), (None, None));
    }

    #[tokio::test]
    async fn a_request_without_a_response_is_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = build(TrustedRoots::default().client(HttpVersions::Any).unwrap()).unwrap();
        let hangs_up = async { drop(listener.accept().await) };
        let (response, ()) = tokio::join!(ProviderResponse::fetch(client.post(&url)), hangs_up);
        assert!(matches!(response, Err(SendOutcome::Unreachable(_))));
        drop(listener);
        assert!(matches!(ProviderResponse::fetch(client.post(&url)).await, Err(SendOutcome::Unreachable(_))));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[ -~]{0,40}") {
            let _ = after(&text, 0);
            let _ = parse_date(&format!("Sun, {text} GMT"));
        }
    }
}
