//! The provider of Firebase Cloud Messaging (FCM): its HTTP v1 API.

mod access_tokens;
mod message;
mod service_account;

use std::fmt;

use dialogue_core::push::{Provider, PushMessage, PushTarget, SendOutcome};
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::Value;

use crate::{
    ProviderError,
    http::{HttpClient, HttpVersions, ProviderResponse},
};
use access_tokens::AccessTokens;
use service_account::ServiceAccount;

/// Pushes to Android, iOS and browsers through Firebase Cloud Messaging's HTTP v1 API, as a service account.
///
/// ```no_run
/// use dialogue::push::{Fcm, Push};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let account = std::fs::read_to_string("service-account.json")?;
/// let push = Push::new().provider(Fcm::from_json(&account)?);
/// # let _ = push;
/// # Ok(())
/// # }
/// ```
#[must_use = "a provider does nothing until `Push::provider` takes it"]
pub struct Fcm {
    client: HttpClient,
    access_tokens: AccessTokens,
    /// The URL of messages.
    url: String,
}

/// The API's base URL.
const BASE_URL: &str = "https://fcm.googleapis.com";
/// The maximum of bytes of a message's notification and data.
const MAX_MESSAGE_BYTES: usize = 4_096;
/// The maximum of bytes of a device's token, which has about 160 in practice.
const MAX_TOKEN_BYTES: usize = 4_096;

impl Fcm {
    /// The provider's name, with which devices register.
    pub const NAME: &str = "fcm";

    /// Creates the provider from the JSON of a service account's key file, which Google Cloud's console makes: the
    /// format with `"type": "service_account"`.
    ///
    /// # Errors
    ///
    /// It isn't such a file, or its key can't be read.
    pub fn from_json(json: &str) -> Result<Self, ProviderError> {
        let access_tokens = AccessTokens::new(ServiceAccount::from_json(json)?);
        let client = HttpClient::new(HttpVersions::Any);
        Ok(Fcm { client, access_tokens, url: String::new() }.base_url(BASE_URL))
    }

    /// Sets the API's base URL: `https://fcm.googleapis.com` by default. For an emulator or a gateway.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        let (url, project_id) = (url.into(), self.access_tokens.project_id());
        self.url = format!("{}/v1/projects/{project_id}/messages:send", url.trim_end_matches('/'));
        self
    }

    /// Trusts the root certificates in `pem` in addition to the system's: that of a gateway in a private network, for
    /// example. Each call adds some.
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or one can't be read.
    pub fn root_certificate(mut self, pem: impl AsRef<str>) -> Result<Self, ProviderError> {
        self.client = self.client.root_certificate(pem.as_ref())?;
        Ok(self)
    }
}

impl Provider for Fcm {
    fn name(&self) -> &'static str {
        Fcm::NAME
    }

    fn concurrency(&self) -> usize {
        256
    }

    fn check(&self, target: &PushTarget) -> Result<(), String> {
        match target {
            PushTarget::Token(token)
                if token.len() <= MAX_TOKEN_BYTES && token.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(())
            }
            _ => Err("`token` has to be the registration token that Firebase gave to the device".to_owned()),
        }
    }

    async fn send(&self, target: &PushTarget, message: &PushMessage<'_>) -> SendOutcome {
        let body = message
            .fit(MAX_MESSAGE_BYTES, |notification| message::encode(target.address(), notification, message));
        let Some(body) = body else {
            return SendOutcome::Rejected(
                "the notification is too long, even without its data and body".to_owned(),
            );
        };
        // An access token may be revoked before it expires: one new token is tried at once.
        match self.try_once(&body).await {
            Err(stale) => {
                self.access_tokens.forget(&stale);
                self.try_once(&body).await.unwrap_or_else(|_| token_refused())
            }
            Ok(outcome) => outcome,
        }
    }
}

impl Fcm {
    /// Sends once. `Err` holds an access token that FCM refused.
    async fn try_once(&self, body: &[u8]) -> Result<SendOutcome, std::sync::Arc<str>> {
        let token = match self.access_tokens.token(&self.client).await {
            Ok(token) => token,
            Err(outcome) => return Ok(outcome),
        };
        let request = Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json");
        match self.client.send(request, body.to_vec()).await {
            Ok(response)
                if response.status == StatusCode::UNAUTHORIZED && error_code(&response).is_none() =>
            {
                Err(token)
            }
            Ok(response) => Ok(outcome(&response)),
            Err(outcome) => Ok(outcome),
        }
    }
}

/// Maps a response to an outcome, after [FCM's error codes][doc].
///
/// [doc]: https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
fn outcome(response: &ProviderResponse) -> SendOutcome {
    let code = error_code(response);
    let reason = match &code {
        Some(code) => format!("{} {code}", response.status.as_u16()),
        None => response.summary(),
    };
    match (response.status.as_u16(), code.as_deref()) {
        (200, _) => SendOutcome::Delivered,
        (404, Some("UNREGISTERED")) => SendOutcome::Unregistered(None),
        (429, _) => {
            // The documented minimum for a response without `Retry-After`.
            let after = response.retry_after.unwrap_or(std::time::Duration::from_secs(60));
            SendOutcome::Throttled { reason, after }
        }
        (401 | 403 | 404, _) => SendOutcome::Misconfigured(reason),
        (500.., _) => response.retry_outcome(reason),
        _ => SendOutcome::Rejected(reason),
    }
}

fn token_refused() -> SendOutcome {
    SendOutcome::Misconfigured("401: FCM refuses two access tokens, one of them new".to_owned())
}

/// Returns `error.details[].errorCode` of a response.
fn error_code(response: &ProviderResponse) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    let details = body.get("error")?.get("details")?.as_array()?;
    let code = details.iter().find_map(|detail| detail.get("errorCode")?.as_str())?;
    Some(code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect())
}

impl fmt::Debug for Fcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fcm").field("project_id", &self.access_tokens.project_id()).finish_non_exhaustive()
    }
}
