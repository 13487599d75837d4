//! A Google service account: the server's identity towards FCM.

use std::time::{SystemTime, UNIX_EPOCH};

use http::Uri;
use serde::Deserialize;
use serde_json::json;

use crate::{ProviderError, jws::SigningKey};

pub(super) struct ServiceAccount {
    pub(super) project_id: String,
    /// The endpoint that issues access tokens.
    pub(super) token_uri: Uri,
    client_email: String,
    key_id: Option<String>,
    key: SigningKey,
}

/// The OAuth 2.0 scope of the access tokens.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// The longest lifetime of an assertion, in seconds.
const ASSERTION_LIFETIME_SECONDS: u64 = 3_600;

impl ServiceAccount {
    pub(super) fn from_json(json: &str) -> Result<Self, ProviderError> {
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
        // The parser's own error may quote the key.
        let invalid = || {
            ProviderError::new(
                "can't read the key file of a service account; it has `type`, `project_id`, `client_email`, `private_key` and `token_uri`",
            )
        };
        let file: File = serde_json::from_str(json).map_err(|_| invalid())?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if file.kind != "service_account" || !file.project_id.chars().all(plain) {
            return Err(invalid());
        }
        let token_uri = Uri::try_from(file.token_uri).map_err(|_| invalid())?;
        if token_uri.scheme_str() != Some("https") {
            return Err(ProviderError::new(
                "the service account's `token_uri` is not https, so that tokens could be intercepted",
            ));
        }
        Ok(ServiceAccount {
            project_id: file.project_id,
            token_uri,
            client_email: file.client_email,
            key_id: file.private_key_id,
            key: SigningKey::rs256(&file.private_key)?,
        })
    }

    /// Returns a signed JWT that is exchanged for an access token (RFC 7523, section 2.1); `None` if the system's
    /// random number generator fails.
    pub(super) fn assertion(&self, now: SystemTime) -> Option<String> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut header = json!({ "typ": "JWT" });
        if let Some(key_id) = &self.key_id {
            header["kid"] = key_id.as_str().into();
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_uri.to_string(),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME_SECONDS,
        });
        self.key.sign(header, &claims)
    }
}
