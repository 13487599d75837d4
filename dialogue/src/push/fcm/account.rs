//! A service account: who the server is to Google.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Url;
use serde::Deserialize;
use serde_json::json;

use crate::push::{PushError, jws::SigningKey};

pub(super) struct Account {
    pub(super) project_id: String,
    /// Where access tokens are given out.
    pub(super) token_uri: Url,
    client_email: String,
    key_id: Option<String>,
    key: SigningKey,
}

/// What the server asks leave for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// What an assertion is good for at most, in seconds.
const HOUR: u64 = 3_600;

impl Account {
    pub(super) fn from_json(json: &str) -> Result<Self, PushError> {
        #[derive(Deserialize)]
        struct File {
            #[serde(rename = "type")]
            kind: String,
            project_id: String,
            client_email: String,
            private_key: String,
            private_key_id: Option<String>,
            token_uri: String,
        }
        // The parser's own text may quote the key.
        let none = || {
            PushError::new(
                "this is no service account's key file: it has `type`, `project_id`, `client_email`, `private_key` and `token_uri`",
            )
        };
        let file: File = serde_json::from_str(json).map_err(|_| none())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if file.kind != "service_account" || !file.project_id.chars().all(plain) {
            return Err(none());
        }
        let token_uri = Url::parse(&file.token_uri).map_err(|_| none())?;
        if token_uri.scheme() != "https" {
            return Err(PushError::new(
                "the service account's `token_uri` is not https: anybody could read the tokens",
            ));
        }
        Ok(Account {
            project_id: file.project_id,
            token_uri,
            client_email: file.client_email,
            key_id: file.private_key_id,
            key: SigningKey::rs256(&file.private_key)?,
        })
    }

    /// What an access token is given out for (RFC 7523).
    pub(super) fn assertion(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut header = json!({ "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            header["kid"] = key_id.as_str().into();
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri.as_str(),
            "iat": now,
            "exp": now + HOUR,
        });
        self.key.sign(header, &claims)
    }
}
