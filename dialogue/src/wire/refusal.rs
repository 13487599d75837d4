//! What stands in an `error` frame.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Code;

/// Why a request was refused: a value that its sender can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The kind.
    pub code: Code,
    /// For people.
    pub message: Cow<'static, str>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// What is wrong with the payload.
    pub details: Vec<Detail>,
}

impl Refusal {
    /// A refusal with nothing but a code and a message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, message: message.into(), retry_after: None, details: Vec::new() }
    }

    /// A middleware's refusal: [`Code::Blocked`], with its reason.
    pub fn blocked(reason: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::Blocked, reason)
    }

    /// A refused join: [`Code::JoinDenied`], with its reason.
    pub fn join_denied(reason: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::JoinDenied, reason)
    }

    /// Too often: [`Code::RateLimited`], to be tried again `after` that time, of which the client is told whole
    /// milliseconds.
    pub fn rate_limited(after: Duration) -> Self {
        let millis = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
        let refusal = Refusal::new(Code::RateLimited, format!("too often; try again in {millis} ms"));
        Refusal { retry_after: Some(Duration::from_millis(millis)), ..refusal }
    }

    /// [`Code::ValidationFailed`] with what is wrong.
    pub fn invalid(details: Vec<Detail>) -> Self {
        let message = match details.first() {
            Some(Detail { path, message }) if !path.is_empty() => format!("{path}: {message}").into(),
            Some(Detail { message, .. }) => message.clone().into(),
            None => Cow::Borrowed("the payload is not valid"),
        };
        Refusal { details, ..Refusal::new(Code::ValidationFailed, message) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// One thing that is wrong with a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// Where: a JSON Pointer into `data` (RFC 6901), such as `/text`.
    pub path: String,
    /// What, for people.
    pub message: String,
}
