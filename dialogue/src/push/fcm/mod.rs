//! Firebase Cloud Messaging, HTTP v1.

mod access;
mod account;
mod message;

use std::fmt;

use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::{
    Outcome, Outgoing, Provider, PushError, Target,
    http::{Answer, Trust, Versions, build},
    payload::fit,
};
use access::Access;
use account::Account;

/// Pushes to Android, iOS and browsers through Firebase Cloud Messaging's HTTP v1 API, as a service account.
///
/// ```no_run
/// use dialogue::push::{Fcm, Push};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let account = std::fs::read_to_string("service-account.json")?;
/// let push = Push::new().fcm(Fcm::from_json(&account)?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "it does nothing until `Push::fcm` is given it"]
pub struct Fcm {
    account: Account,
    base: String,
}

/// Where the API is.
const BASE: &str = "https://fcm.googleapis.com";
/// Bytes of a message's notification and data.
const LONGEST: usize = 4_096;
/// Bytes of a device's token: about 160 in practice.
const LONGEST_TOKEN: usize = 4_096;

impl Fcm {
    /// The name that devices register with.
    pub const NAME: &str = "fcm";

    /// As the service account whose key file holds `json`: Google Cloud's console makes it, in the format that has
    /// `"type": "service_account"`.
    ///
    /// # Errors
    ///
    /// It is no such file, or its key is of no use.
    pub fn from_json(json: &str) -> Result<Self, PushError> {
        Ok(Fcm { account: Account::from_json(json)?, base: BASE.to_owned() })
    }

    /// With the API at another place than `https://fcm.googleapis.com`: an emulator, or a gateway.
    pub fn at(mut self, url: impl Into<String>) -> Self {
        self.base = url.into().trim_end_matches('/').to_owned();
        self
    }

    pub(super) fn open(self, trust: &Trust) -> Result<Sender, PushError> {
        let client = build(trust.client(Versions::All)?)?;
        let url = format!("{}/v1/projects/{}/messages:send", self.base, self.account.project_id);
        Ok(Sender { url, access: Access::new(self.account, client.clone()), client })
    }
}

/// The provider that an [`Fcm`] is.
pub(super) struct Sender {
    client: Client,
    url: String,
    access: Access,
}

impl Provider for Sender {
    fn name(&self) -> &'static str {
        Fcm::NAME
    }

    fn concurrency(&self) -> usize {
        256
    }

    fn check(&self, target: &Target) -> Result<(), String> {
        match target {
            Target::Token(token)
                if token.len() <= LONGEST_TOKEN && token.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(())
            }
            _ => Err("`token` is what Firebase gave the device".to_owned()),
        }
    }

    async fn send(&self, target: &Target, push: &Outgoing<'_>) -> Outcome {
        let body = fit(push.notice, LONGEST, |notice| message::encode(target.address(), notice, push));
        let Some(body) = body else { return Outcome::Rejected("the texts are too long".to_owned()) };
        // A token may be withdrawn before it expires: once, a new one is tried at once.
        match self.try_once(&body).await {
            Err(stale) => {
                self.access.forget(&stale);
                self.try_once(&body).await.unwrap_or_else(|_| refused())
            }
            Ok(outcome) => outcome,
        }
    }
}

impl Sender {
    /// `Err` holds the token that isn't taken.
    async fn try_once(&self, body: &[u8]) -> Result<Outcome, std::sync::Arc<str>> {
        let token = match self.access.token().await {
            Ok(token) => token,
            Err(outcome) => return Ok(outcome),
        };
        let request = self.client.post(&self.url).bearer_auth(&token);
        let request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_vec());
        match Answer::to(request).await {
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && error_code(&answer).is_none() => {
                Err(token)
            }
            Ok(answer) => Ok(outcome(&answer)),
            Err(outcome) => Ok(outcome),
        }
    }
}

/// What its answer means: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
fn outcome(answer: &Answer) -> Outcome {
    let code = error_code(answer);
    let reason = match &code {
        Some(code) => format!("{} {code}", answer.status.as_u16()),
        None => answer.words(),
    };
    match (answer.status.as_u16(), code.as_deref()) {
        (200, _) => Outcome::Delivered,
        (404, Some("UNREGISTERED")) => Outcome::Gone(None),
        (429, _) => {
            // The documentation's minimum where the answer names none.
            let after = answer.retry_after.unwrap_or(std::time::Duration::from_secs(60));
            Outcome::Throttled { reason, after }
        }
        (401 | 403 | 404, _) => Outcome::Misconfigured(reason),
        (500.., _) => answer.retry(reason),
        _ => Outcome::Rejected(reason),
    }
}

fn refused() -> Outcome {
    Outcome::Misconfigured("401: two access tokens, one of them new, are not taken".to_owned())
}

/// `error.details[].errorCode`.
fn error_code(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let details = body.get("error")?.get("details")?.as_array()?;
    let code = details.iter().find_map(|detail| detail.get("errorCode")?.as_str())?;
    Some(code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect())
}

impl fmt::Debug for Fcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fcm").field("project_id", &self.account.project_id).finish_non_exhaustive()
    }
}
