//! The response of a provider, as far as it matters for an outcome.

use std::time::{Duration, SystemTime};

use dialogue_core::push::SendOutcome;
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use reqwest::Response;

use super::resolver::NotAllowed;

/// Bytes of a response's body that are read; the rest is dropped.
const MAX_BODY_BYTES: usize = 8 << 10;
/// The longest `Retry-After` that is obeyed, an hour. A longer one is a mistake of the provider.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The parts of a provider's response that matter.
#[derive(Debug)]
#[non_exhaustive]
pub struct ProviderResponse {
    /// The status.
    pub status: StatusCode,
    /// The time to wait, from the header `Retry-After` (RFC 9110, section 10.2.3), at most [`MAX_RETRY_AFTER`].
    pub retry_after: Option<Duration>,
    /// The body's first 8 kB.
    pub body: Vec<u8>,
}

impl ProviderResponse {
    /// Creates a response without a body; for tests of a provider.
    pub fn new(status: StatusCode, retry_after: Option<Duration>) -> Self {
        ProviderResponse { status, retry_after, body: Vec::new() }
    }

    /// Waits for the response to a request, and reads it.
    pub(super) async fn fetch(
        response: impl Future<Output = reqwest::Result<Response>>,
    ) -> Result<Self, SendOutcome> {
        let response = response.await.map_err(|error| failure_outcome(&error))?;
        let (status, retry_after) =
            (response.status(), parse_retry_after(response.headers(), SystemTime::now()));
        Ok(ProviderResponse { status, retry_after, body: read(response).await })
    }

    /// Returns the status and the first 200 characters of the body, without control characters, for the log.
    pub fn summary(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
        format!("HTTP {} {}", self.status.as_u16(), text.trim()).trim_end().to_owned()
    }

    /// Returns the outcome that has the push sent again, not before the time that the provider names.
    pub fn retry_outcome(&self, reason: String) -> SendOutcome {
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
    if NotAllowed::is_cause_of(error) {
        return SendOutcome::InvalidTarget(NotAllowed.to_string());
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

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "[ -~]{0,40}") {
            let _ = after(&text, 0);
            let _ = parse_date(&format!("Sun, {text} GMT"));
        }
    }
}
