//! OAuth 2.0 access tokens for a service account, by a JWT bearer grant (RFC 7523). A token is cached, and fetched once
//! for all sends that need it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use dialogue_core::push::SendOutcome;
use http::{Request, header::CONTENT_TYPE};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use super::service_account::ServiceAccount;
use crate::http::HttpClient;

pub(super) struct AccessTokens {
    account: ServiceAccount,
    state: Mutex<TokenState>,
    /// Admits one request for a token; the others wait, and then find its result.
    fetching: Semaphore,
}

#[derive(Default)]
struct TokenState {
    token: Option<(Arc<str>, Instant)>,
    /// The outcome of the last request that failed, and its time.
    failed: Option<(SendOutcome, Instant)>,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: u64,
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The time before its expiry at which a token is replaced, so that it doesn't expire in transit.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);
/// The least time between a failed request for a token and the next.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

impl AccessTokens {
    pub(super) fn new(account: ServiceAccount) -> Self {
        AccessTokens { account, state: Mutex::default(), fetching: Semaphore::new(1) }
    }

    /// Returns the id of the account's project.
    pub(super) fn project_id(&self) -> &str {
        &self.account.project_id
    }

    /// Returns a token that is valid for a while.
    ///
    /// # Errors
    ///
    /// The outcome for the pushes that wait for it. It is cached for [`RETRY_INTERVAL`].
    pub(super) async fn token(&self, client: &HttpClient) -> Result<Arc<str>, SendOutcome> {
        if let Some(cached) = self.cached() {
            return cached;
        }
        let _fetching = self.fetching.acquire().await;
        // Another task may have fetched it in the meantime.
        if let Some(cached) = self.cached() {
            return cached;
        }
        let response = self.fetch(client).await;
        let mut state = self.state.lock();
        match response {
            Ok(TokenResponse { access_token, expires_in }) => {
                let lifetime = Duration::from_secs(expires_in.min(24 * 3_600));
                let token: Arc<str> = access_token.into();
                // A token that expires sooner than that is used for half of its time.
                state.token = Some((
                    Arc::clone(&token),
                    Instant::now() + lifetime.saturating_sub(EXPIRY_MARGIN).max(lifetime / 2),
                ));
                state.failed = None;
                Ok(token)
            }
            Err(outcome) => {
                state.failed = Some((outcome.clone(), Instant::now()));
                Err(outcome)
            }
        }
    }

    /// Drops a token that FCM refused before its expiry, if it is still the current one.
    pub(super) fn forget(&self, stale: &Arc<str>) {
        let mut state = self.state.lock();
        if state.token.as_ref().is_some_and(|(token, _)| Arc::ptr_eq(token, stale)) {
            state.token = None;
        }
    }

    fn cached(&self) -> Option<Result<Arc<str>, SendOutcome>> {
        let state = self.state.lock();
        if let Some((token, until)) = &state.token
            && Instant::now() < *until
        {
            return Some(Ok(Arc::clone(token)));
        }
        let (outcome, when) = state.failed.as_ref()?;
        (when.elapsed() < RETRY_INTERVAL).then(|| Err(outcome.clone()))
    }

    async fn fetch(&self, client: &HttpClient) -> Result<TokenResponse, SendOutcome> {
        let assertion = self.account.assertion(SystemTime::now());
        let assertion = assertion.ok_or_else(|| SendOutcome::Retry {
            reason: "the system's random number generator fails".to_owned(),
            after: None,
        })?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT_TYPE)
            .append_pair("assertion", &assertion)
            .finish();
        let request = Request::post(&self.account.token_uri);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = client.send(request, form.into_bytes()).await?;
        match response.status.as_u16() {
            200 => serde_json::from_slice(&response.body).map_err(|_| {
                response.retry_outcome("can't read the response of the token endpoint".to_owned())
            }),
            429 | 500.. => {
                Err(response.retry_outcome(format!("can't fetch an access token: {}", response.summary())))
            }
            _ => Err(SendOutcome::Misconfigured(format!(
                "can't fetch an access token: {}",
                response.summary()
            ))),
        }
    }
}
