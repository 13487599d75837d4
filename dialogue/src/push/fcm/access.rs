//! Access tokens: asked for once for all who wait, and kept until shortly before they expire.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use reqwest::Client;
use serde::Deserialize;
use tokio::{sync::Semaphore, time::Instant};

use super::account::Account;
use crate::push::{Outcome, http::Answer};

pub(super) struct Access {
    account: Account,
    client: Client,
    state: Mutex<State>,
    /// Who holds the permit asks; the others wait for what it hears.
    asking: Semaphore,
}

#[derive(Default)]
struct State {
    token: Option<(Arc<str>, Instant)>,
    /// What came of the last try that failed, and when.
    failed: Option<(Outcome, Instant)>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// A token is renewed so long before it expires, so that none expires on its way.
const EARLY: Duration = Duration::from_secs(300);
/// From one try that fails to the next.
const FLOOR: Duration = Duration::from_secs(5);

impl Access {
    pub(super) fn new(account: Account, client: Client) -> Self {
        Access { account, client, state: Mutex::default(), asking: Semaphore::new(1) }
    }

    /// A token that is good for a while.
    pub(super) async fn token(&self) -> Result<Arc<str>, Outcome> {
        if let Some(known) = self.known() {
            return known;
        }
        let _turn = self.asking.acquire().await;
        // Somebody may have heard meanwhile.
        if let Some(known) = self.known() {
            return known;
        }
        let granted = self.ask().await;
        let mut state = self.state.lock();
        match granted {
            Ok(Granted { access_token, expires_in }) => {
                let good = Duration::from_secs(expires_in.min(24 * 3_600));
                let token: Arc<str> = access_token.into();
                // One that lives shorter than that is used for half of its life.
                state.token =
                    Some((Arc::clone(&token), Instant::now() + good.saturating_sub(EARLY).max(good / 2)));
                state.failed = None;
                Ok(token)
            }
            Err(outcome) => {
                state.failed = Some((outcome.clone(), Instant::now()));
                Err(outcome)
            }
        }
    }

    /// `stale` isn't taken, though it has not expired.
    pub(super) fn forget(&self, stale: &Arc<str>) {
        let mut state = self.state.lock();
        if state.token.as_ref().is_some_and(|(token, _)| Arc::ptr_eq(token, stale)) {
            state.token = None;
        }
    }

    fn known(&self) -> Option<Result<Arc<str>, Outcome>> {
        let state = self.state.lock();
        if let Some((token, until)) = &state.token
            && Instant::now() < *until
        {
            return Some(Ok(Arc::clone(token)));
        }
        let (outcome, when) = state.failed.as_ref()?;
        (when.elapsed() < FLOOR).then(|| Err(outcome.clone()))
    }

    async fn ask(&self) -> Result<Granted, Outcome> {
        let assertion = self.account.assertion(SystemTime::now());
        let assertion =
            assertion.ok_or_else(|| Outcome::Retry { reason: "no randomness".to_owned(), after: None })?;
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", GRANT)
            .append_pair("assertion", &assertion)
            .finish();
        let request = self.client.post(self.account.token_uri.clone()).body(form);
        let request = request.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = Answer::to(request).await?;
        match answer.status.as_u16() {
            200 => serde_json::from_slice(&answer.body)
                .map_err(|_| answer.retry("an access token's answer can't be read".to_owned())),
            429 | 500.. => Err(answer.retry(format!("no access token: {}", answer.words()))),
            _ => Err(Outcome::Misconfigured(format!("no access token: {}", answer.words()))),
        }
    }
}
