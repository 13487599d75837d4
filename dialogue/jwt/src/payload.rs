//! The payload of a token: its claims.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::token::TokenError;

/// The claims of a token: the identity that [`Jwt`](super::Jwt) returns, unless the application sets [another
/// type](super::Jwt::claims).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// The user's roles, from the [roles claim](super::Jwt::roles_claim).
    pub roles: Vec<String>,
    /// All claims except `sub`, unchanged.
    pub rest: Map<String, Value>,
}

/// The payload of a token whose signature is verified.
pub(super) struct VerifiedPayload {
    bytes: Vec<u8>,
    claims: Map<String, Value>,
}

impl VerifiedPayload {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, TokenError> {
        let claims = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
        Ok(VerifiedPayload { bytes, claims })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Returns the time of a claim, since the Unix epoch; `None` without the claim, an error if it is not a number of
    /// seconds.
    pub(super) fn date(&self, name: &str) -> Result<Option<Duration>, TokenError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value.as_u64().map(Duration::from_secs);
        let date = whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok());
        date.map(Some).ok_or(TokenError::Malformed)
    }

    /// Returns the list of strings in a claim; empty without the claim, `None` if it is not such a list.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let Some(value) = self.get(name) else { return Some(Vec::new()) };
        value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
    }

    pub(super) fn claims(&self, roles: &[String]) -> Claims {
        let mut rest = self.claims.clone();
        rest.remove("sub");
        Claims { sub: self.text("sub").unwrap_or_default().to_owned(), roles: roles.to_vec(), rest }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&self.bytes)).map_err(
            |error| {
                // Logs the path but not serde's text, which may quote the claim.
                tracing::debug!(
                    "the claim `{}` of a token does not have the type that the application requires",
                    error.path()
                );
                TokenError::Claims
            },
        )
    }
}
