//! The error type of the client.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::wire::{Code, Refusal};

/// The error of a client's operation.
///
/// Cheap to clone: all callers that waited for the same connection receive the same error.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    attempt: Cow<'static, str>,
    refusal: Option<Refusal>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The URL is invalid, or not one that a client can connect to.
    Address,
    /// The connection could not be established, or was lost.
    Connect,
    /// The server rejected the token, or requires one.
    Unauthenticated,
    /// The server removed this client permanently (close code 4403).
    Removed,
    /// The server refused the request; [`Error::refusal`] has the reason.
    Refused,
    /// There is no connection at the moment, and an ephemeral event is not queued for later.
    Offline,
    /// The number of requests without a response has reached [`Connect::offline_queue`](super::Connect::offline_queue).
    QueueFull,
    /// The server did not respond before the deadline. An event that was sent may have been accepted.
    Deadline,
    /// This client has already joined the room.
    AlreadyJoined,
    /// This client is not, or no longer, a member of the room.
    NotJoined,
    /// The client was closed.
    Closed,
    /// The event could not be serialised as JSON.
    Encode,
    /// The server's frame or response could not be read as declared.
    Decode,
}

/// The prefix of a refusal's own message.
const REFUSED: &str = "the server refused";

impl Error {
    pub(crate) fn new(kind: ErrorKind, attempt: impl Into<Cow<'static, str>>) -> Self {
        Error(Arc::new(Inner { kind, attempt: attempt.into(), refusal: None, source: None }))
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        attempt: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Error(Arc::new(Inner { kind, attempt: attempt.into(), refusal: None, source: Some(source.into()) }))
    }

    pub(crate) fn refused(refusal: Refusal) -> Self {
        let kind = match refusal.code {
            Code::Unauthenticated => ErrorKind::Unauthenticated,
            _ => ErrorKind::Refused,
        };
        let attempt = Cow::Borrowed(REFUSED);
        Error(Arc::new(Inner { kind, attempt, refusal: Some(refusal), source: None }))
    }

    /// Creates the error of a server that requires a token from a client without one.
    pub(crate) fn token_wanted(refusal: Refusal) -> Self {
        let attempt =
            "the server requires a token: give the client one with `.token(…)` or `.token_from(…)`".into();
        let kind = ErrorKind::Unauthenticated;
        Error(Arc::new(Inner { kind, attempt, refusal: Some(refusal), source: None }))
    }

    /// Returns the kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the server's refusal, if the server refused the request.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// Returns the code of the [`refusal`](Error::refusal).
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// Returns the application-defined reason in the [`refusal`](Error::refusal), such as `too-many-links`, if the
    /// server gave one.
    pub fn reason(&self) -> Option<&str> {
        self.refusal().and_then(|refusal| refusal.reason.as_deref())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.refusal {
            Some(refusal) if self.0.attempt == REFUSED => write!(f, "{REFUSED}: {refusal}"),
            _ => f.write_str(&self.0.attempt),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.0.kind).field("attempt", &self.0.attempt);
        if let Some(refusal) = &self.0.refusal {
            debug.field("refusal", refusal);
        }
        if let Some(source) = &self.0.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}
