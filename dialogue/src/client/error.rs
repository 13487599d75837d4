//! What can go wrong at the client's end.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::wire::{Code, Refusal};

/// Why something that was asked of a client did not happen.
///
/// Cheap to clone: everybody who waited for the same connection gets the same error.
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
    /// The url is none that a client can connect to.
    Address,
    /// No connection came about.
    Connect,
    /// The server does not accept the token, or wants one.
    Unauthenticated,
    /// The server removed this client for good (close code 4403).
    Removed,
    /// The server refused the request: [`Error::refusal`] says why.
    Refused,
    /// There is no connection at the moment, and an ephemeral event is not kept for later.
    Offline,
    /// As many requests wait for the server as [`Connect::offline_queue`](super::Connect::offline_queue) allows.
    QueueFull,
    /// The server did not answer in time. What was sent may have been accepted.
    Deadline,
    /// This client is in that room already.
    AlreadyJoined,
    /// This client is not, or no longer, in that room.
    NotJoined,
    /// The client was closed.
    Closed,
    /// The event can't be written as JSON.
    Encode,
    /// What the server sent can't be read as what was declared.
    Decode,
}

/// The text before a refusal's own message.
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

    /// The server waits for a token, and the client has none.
    pub(crate) fn token_wanted(refusal: Refusal) -> Self {
        let attempt =
            "the server requires a token: give the client one with `.token(…)` or `.token_from(…)`".into();
        let kind = ErrorKind::Unauthenticated;
        Error(Arc::new(Inner { kind, attempt, refusal: Some(refusal), source: None }))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the server said, where it refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// The code of [`refusal`](Error::refusal).
    pub fn code(&self) -> Option<Code> {
        self.refusal().map(|refusal| refusal.code)
    }

    /// The application's own word in [`refusal`](Error::refusal), such as `too-many-links`, if the server gave one.
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
