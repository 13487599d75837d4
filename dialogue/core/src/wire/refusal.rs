//! Refusals: the contents of an `error` frame.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::Code;

/// A refusal of a request: a named, expected failure that the client can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The code, for programs.
    pub code: Code,
    /// The message, for people.
    pub message: Cow<'static, str>,
    /// The time after which a retry may succeed.
    pub retry_after: Option<Duration>,
    /// The violations of the payload.
    pub details: Vec<Detail>,
    /// The application's own reason for programs, such as `too-many-links`: the `reason` of the `error` frame, and in
    /// the body of an HTTP response. See [`with_reason`](Self::with_reason).
    pub reason: Option<Cow<'static, str>>,
}

/// The maximum of bytes of a `reason`.
const MAX_REASON_BYTES: usize = 64;

impl Refusal {
    /// Returns a refusal with a code and a message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, message: message.into(), retry_after: None, details: Vec::new(), reason: None }
    }

    /// Returns a refusal of a user that lacks the permission: [`Code::PermissionDenied`], with a message for people.
    pub fn denied(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::PermissionDenied, message)
    }

    /// Returns a middleware's refusal: [`Code::Blocked`], with a message for people.
    pub fn blocked(reason: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::Blocked, reason)
    }

    /// Returns the refusal of a join: [`Code::JoinDenied`], with a message for people.
    pub fn join_denied(reason: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::JoinDenied, reason)
    }

    /// Returns the refusal of a rate limit: [`Code::RateLimited`], to be retried after that time, rounded up to
    /// milliseconds.
    pub fn rate_limited(after: Duration) -> Self {
        let millis = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
        let refusal = Refusal::new(Code::RateLimited, format!("too often; try again in {millis} ms"));
        Refusal { retry_after: Some(Duration::from_millis(millis)), ..refusal }
    }

    /// Returns the refusal of a payload that breaks a rule of the application's own: [`Code::ValidationFailed`], with a
    /// message for people. [`with_detail`](Self::with_detail) adds the field.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::ValidationFailed, message)
    }

    /// Returns a [`Code::ValidationFailed`] with these violations; its message is the first of them.
    pub fn invalid_fields(details: Vec<Detail>) -> Self {
        let message = match details.first() {
            Some(Detail { path, message }) if !path.is_empty() => format!("{path}: {message}").into(),
            Some(Detail { message, .. }) => message.clone().into(),
            None => Cow::Borrowed("the payload is not valid"),
        };
        Refusal { details, ..Refusal::invalid(message) }
    }

    /// Adds a violation at `path`, a JSON Pointer into `data` (RFC 6901) such as `/text`; the empty path is the whole
    /// payload. Each further call adds one.
    ///
    /// ```
    /// use dialogue::Refusal;
    ///
    /// let refusal = Refusal::invalid("no links, please").with_detail("/text", "holds a link");
    /// assert_eq!(refusal.details[0].path, "/text");
    /// ```
    #[must_use]
    pub fn with_detail(mut self, path: impl Into<String>, message: impl Into<String>) -> Self {
        self.details.push(Detail { path: path.into(), message: message.into() });
        self
    }

    /// Adds the application's own reason for programs, so that a client needn't compare messages: the `reason` of the
    /// `error` frame. The Rust client has it in [`reason`](Self::reason).
    ///
    /// ```
    /// use dialogue::Refusal;
    ///
    /// let refusal = Refusal::blocked("two links at most").with_reason("too-many-links");
    /// assert_eq!(refusal.reason.as_deref(), Some("too-many-links"));
    /// ```
    ///
    /// # Panics
    ///
    /// If `reason` isn't 1 to 64 of `a` to `z`, `0` to `9` and `-`, or the code is none of [`Code::Blocked`],
    /// [`Code::JoinDenied`] and [`Code::PermissionDenied`], which alone carry one. A middleware or hook that panics so
    /// fails its request with `INTERNAL`, and is logged.
    #[must_use]
    #[track_caller]
    pub fn with_reason(mut self, reason: &'static str) -> Self {
        assert!(
            is_reason(reason),
            "the reason `{reason}` of a refusal is not 1 to {MAX_REASON_BYTES} of `a` to `z`, `0` to `9` and `-`, as in \
             `too-many-links`"
        );
        assert!(
            matches!(self.code, Code::Blocked | Code::JoinDenied | Code::PermissionDenied),
            "a refusal with `{:?}` has no reason: make it with `Refusal::blocked`, `join_denied` or `denied`",
            self.code
        );
        self.reason = Some(Cow::Borrowed(reason));
        self
    }
}

fn is_reason(text: &str) -> bool {
    (1..=MAX_REASON_BYTES).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// A violation in a payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The place: a JSON Pointer into `data` (RFC 6901), such as `/text`.
    pub path: String,
    /// The message, for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn short_constructors_have_their_codes() {
        assert_eq!(Refusal::denied("no").code, Code::PermissionDenied);
        assert_eq!(Refusal::blocked("no").code, Code::Blocked);
        assert_eq!(Refusal::join_denied("no").code, Code::JoinDenied);
        let invalid =
            Refusal::invalid("no links").with_detail("/text", "a link").with_detail("/title", "empty");
        assert_eq!((invalid.code, &*invalid.message), (Code::ValidationFailed, "no links"));
        let paths: Vec<_> = invalid.details.iter().map(|detail| detail.path.as_str()).collect();
        assert_eq!(paths, ["/text", "/title"]);
        assert_eq!(Refusal::invalid_fields(invalid.details).message, "/text: a link");
    }

    #[test]
    fn a_reason_is_a_word_of_few_characters() {
        const LONGEST: &str = "a234567890123456789012345678901234567890123456789012345678901234";
        const LONGER: &str = "a2345678901234567890123456789012345678901234567890123456789012345";
        for reason in ["x", "too-many-links", "404", LONGEST] {
            assert_eq!(Refusal::denied("no").with_reason(reason).reason.as_deref(), Some(reason));
        }
        for reason in ["", "Too-Many", "too many", "too_many", "zu-viele-lînks", "a\n", LONGER] {
            assert!(catch_unwind(|| Refusal::denied("no").with_reason(reason)).is_err(), "{reason}");
        }
    }

    #[test]
    fn only_what_the_application_decides_has_a_reason() {
        for code in [Code::Blocked, Code::JoinDenied, Code::PermissionDenied] {
            assert!(Refusal::new(code, "no").with_reason("why").reason.is_some());
        }
        for code in [Code::ValidationFailed, Code::Unavailable, Code::Internal] {
            assert!(catch_unwind(|| Refusal::new(code, "no").with_reason("why")).is_err(), "{code:?}");
        }
    }
}
