//! The way out: HTTP over TLS, and what answers say of when to come again.

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
use super::endpoint::NotPublic;
use super::{Outcome, PushError};

/// What a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read.
const LONGEST_ANSWER: usize = 8 << 10;
/// What a provider may ask for at most: more is a mistake, or somebody's joke.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Certificates that are trusted beside the system's.
#[derive(Debug, Clone, Default)]
pub(super) struct Trust(Vec<CertificateDer<'static>>);

/// The HTTP versions that are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    All,
    /// HTTP/2 alone.
    Two,
}

impl Trust {
    pub(super) fn add(&mut self, pem: &str) -> Result<(), PushError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => self.0.extend(certificates),
            _ => {
                return Err(PushError::new(
                    "there is no certificate in this PEM: `-----BEGIN CERTIFICATE-----`",
                ));
            }
        }
        Ok(())
    }

    /// A client that follows no redirects.
    pub(super) fn client(&self, versions: Versions) -> Result<ClientBuilder, PushError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.0.iter().cloned());
        // With a provider of our own: the process may have none, or another.
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| PushError::new("can't set up TLS"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let two = b"h2".to_vec();
        tls.alpn_protocols = match versions {
            Versions::All => vec![two, b"http/1.1".to_vec()],
            Versions::Two => vec![two],
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            // A connection that died in silence is noticed before the next event has to find out.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        Ok(match versions {
            Versions::All => client,
            Versions::Two => client.http2_prior_knowledge(),
        })
    }
}

pub(super) fn build(client: ClientBuilder) -> Result<Client, PushError> {
    client.build().map_err(|_| PushError::new("can't set up HTTP"))
}

/// An answer, as much of it as is of use.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Sends `request` and reads the answer.
    pub(super) async fn to(request: reqwest::RequestBuilder) -> Result<Self, Outcome> {
        let response = request.send().await.map_err(|error| failed(&error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers(), SystemTime::now()));
        Ok(Answer { status, retry_after, body: read(response).await })
    }

    /// The provider's own words, short enough for a log and without what would break its lines.
    pub(super) fn words(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        format!("HTTP {} {}", self.status.as_u16(), text.trim()).trim_end().to_owned()
    }

    pub(super) fn retry(&self, reason: String) -> Outcome {
        Outcome::Retry { reason, after: self.retry_after }
    }
}

/// Reads the beginning of a body; what can't be read is of no consequence, for the status says what happened.
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let space = LONGEST_ANSWER.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..space).unwrap_or(&chunk));
        if chunk.len() > space {
            break;
        }
    }
    body
}

/// What a request without an answer says: the URL, which may be a secret, is not in it.
fn failed(error: &reqwest::Error) -> Outcome {
    #[cfg(feature = "webpush")]
    if NotPublic::caused(error) {
        return Outcome::Suspend(NotPublic.to_string());
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
    Outcome::Unreachable(reason)
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => date(text)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7); the two obsolete forms are not sent any more.
fn date(text: &str) -> Option<SystemTime> {
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
    // Days from 1970-01-01, with the year beginning in March, so that the leap day is its last.
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
        retry_after(&headers, now).map(|wait| wait.as_secs())
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
    async fn a_request_without_an_answer_is_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = build(Trust::default().client(Versions::All).unwrap()).unwrap();
        let hangs_up = async { drop(listener.accept().await) };
        let (answer, ()) = tokio::join!(Answer::to(client.post(&url)), hangs_up);
        assert!(matches!(answer, Err(Outcome::Unreachable(_))));
        drop(listener);
        assert!(matches!(Answer::to(client.post(&url)).await, Err(Outcome::Unreachable(_))));
    }

    proptest! {
        #[test]
        fn no_text_is_too_much_for_it(text in "[ -~]{0,40}") {
            let _ = after(&text, 0);
            let _ = date(&format!("Sun, {text} GMT"));
        }
    }
}
