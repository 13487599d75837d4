//! What a token says.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::token::Refused;

/// The claims of a token: what [`Jwt`](super::Jwt) knows of a user unless told of [another
/// type](super::Jwt::claims).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// What the user may do, by the claim that lists it.
    pub roles: Vec<String>,
    /// All claims but `sub`, as they came.
    pub rest: Map<String, Value>,
}

/// A payload whose signature was right.
pub(super) struct Payload {
    bytes: Vec<u8>,
    claims: Map<String, Value>,
}

impl Payload {
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, Refused> {
        let claims = serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)?;
        Ok(Payload { bytes, claims })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The time that a claim names, since the epoch; an error if it is there and names none.
    pub(super) fn date(&self, name: &str) -> Result<Option<Duration>, Refused> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value.as_u64().map(Duration::from_secs);
        let date = whole.or_else(|| Duration::try_from_secs_f64(value.as_f64()?).ok());
        date.map(Some).ok_or(Refused::Malformed)
    }

    /// The strings that a claim lists, empty without it; `None` if it is something else.
    pub(super) fn list(&self, name: &str) -> Option<Vec<String>> {
        let Some(value) = self.get(name) else { return Some(Vec::new()) };
        value.as_array()?.iter().map(|entry| entry.as_str().map(str::to_owned)).collect()
    }

    pub(super) fn claims(&self, roles: &[String]) -> Claims {
        let mut rest = self.claims.clone();
        rest.remove("sub");
        Claims { sub: self.text("sub").unwrap_or_default().to_owned(), roles: roles.to_vec(), rest }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&self.bytes)).map_err(
            |error| {
                // Where, but not what: serde's own text may quote the claim.
                tracing::debug!(
                    "the claim `{}` of a token is not what the application asks for",
                    error.path()
                );
                Refused::Claims
            },
        )
    }
}
