//! What a token must say to hold, beside its signature.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{payload::Payload, token::Refused};

#[derive(Debug)]
pub(super) struct Rules {
    /// Any of them; none: tokens without audience.
    pub(super) audiences: Vec<String>,
    /// Any of them; none: whoever issued it.
    pub(super) issuers: Vec<String>,
    pub(super) leeway: Duration,
    pub(super) expiry_required: bool,
    pub(super) roles_claim: String,
}

impl Rules {
    /// When it expires, if it holds at `now` since the epoch (RFC 7519, section 4.1).
    pub(super) fn check(&self, payload: &Payload, now: Duration) -> Result<Option<SystemTime>, Refused> {
        let expires = self.expires(payload)?;
        // "On or after": with `exp` the moment has come.
        if expires.is_some_and(|expires| now >= expires) {
            return Err(Refused::Expired);
        }
        if payload.date("nbf")?.is_some_and(|begins| now.saturating_add(self.leeway) < begins) {
            return Err(Refused::Early);
        }
        if !self.audience(payload.get("aud")) {
            return Err(Refused::Audience);
        }
        if !self.issuers.is_empty() && !payload.text("iss").is_some_and(|issuer| holds(&self.issuers, issuer))
        {
            return Err(Refused::Issuer);
        }
        // A date past what the clock can tell is no end.
        Ok(expires.and_then(|expires| UNIX_EPOCH.checked_add(expires)))
    }

    fn expires(&self, payload: &Payload) -> Result<Option<Duration>, Refused> {
        match payload.date("exp")? {
            None if self.expiry_required => Err(Refused::NoExpiry),
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

impl Default for Rules {
    fn default() -> Self {
        Rules {
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
