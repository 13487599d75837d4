//! The checks of a token's registered claims (RFC 7519, section 4.1).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{payload::VerifiedPayload, token::TokenError};

/// The configured requirements on the claims.
#[derive(Debug)]
pub(super) struct ClaimRules {
    /// The accepted audiences; empty: only tokens without `aud` are accepted.
    pub(super) audiences: Vec<String>,
    /// The accepted issuers; empty: every issuer is accepted.
    pub(super) issuers: Vec<String>,
    pub(super) leeway: Duration,
    pub(super) expiry_required: bool,
    pub(super) roles_claim: String,
}

impl ClaimRules {
    /// Checks the claims at `now` since the Unix epoch. Returns the expiry.
    pub(super) fn check(
        &self,
        payload: &VerifiedPayload,
        now: Duration,
    ) -> Result<Option<SystemTime>, TokenError> {
        let expires = self.expires(payload)?;
        // RFC 7519, section 4.1.4: a token is expired "on or after" `exp`.
        if expires.is_some_and(|expires| now >= expires) {
            return Err(TokenError::Expired);
        }
        if payload.date("nbf")?.is_some_and(|begins| now.saturating_add(self.leeway) < begins) {
            return Err(TokenError::NotYetValid);
        }
        if !self.audience(payload.get("aud")) {
            return Err(TokenError::Audience);
        }
        if !self.issuers.is_empty() && !payload.text("iss").is_some_and(|issuer| holds(&self.issuers, issuer))
        {
            return Err(TokenError::Issuer);
        }
        // A date that the clock can't represent counts as no expiry.
        Ok(expires.and_then(|expires| UNIX_EPOCH.checked_add(expires)))
    }

    fn expires(&self, payload: &VerifiedPayload) -> Result<Option<Duration>, TokenError> {
        match payload.date("exp")? {
            None if self.expiry_required => Err(TokenError::NoExpiry),
            None => Ok(None),
            Some(date) => Ok(Some(date.saturating_add(self.leeway))),
        }
    }

    fn audience(&self, claim: Option<&Value>) -> bool {
        match claim {
            None => self.audiences.is_empty(),
            Some(Value::String(audience)) => holds(&self.audiences, audience),
            Some(Value::Array(all)) => {
                all.iter().filter_map(Value::as_str).any(|audience| holds(&self.audiences, audience))
            }
            Some(_) => false,
        }
    }
}

impl Default for ClaimRules {
    fn default() -> Self {
        ClaimRules {
            audiences: Vec::new(),
            issuers: Vec::new(),
            leeway: Duration::ZERO,
            expiry_required: true,
            roles_claim: "roles".to_owned(),
        }
    }
}

fn holds(ours: &[String], theirs: &str) -> bool {
    ours.iter().any(|own| own == theirs)
}
