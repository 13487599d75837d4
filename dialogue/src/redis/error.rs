//! Why Redis can't be used.

use std::{error::Error, fmt, io};

/// Why a connection to Redis didn't come about: what was tried, what came of it and what to do.
///
/// No text of it holds a password.
#[derive(Debug)]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
    source: Option<Source>,
}

/// What went wrong with a [`RedisError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// What the program says of the server can't be: a URL, a prefix, a certificate.
    Configuration,
    /// Nobody answers there, or not in time.
    Unreachable,
    /// The server doesn't accept the user, the password or the database.
    Denied,
    /// The encryption of the connection failed.
    Tls,
    /// A server answers that can't be used: too old, a replica, or of another kind.
    Unfit,
}

type Source = Box<dyn Error + Send + Sync>;

impl RedisError {
    pub(super) fn new(kind: RedisErrorKind, message: impl Into<String>) -> Self {
        RedisError { kind, message: message.into(), source: None }
    }

    pub(super) fn configuration(message: impl Into<String>) -> Self {
        RedisError::new(RedisErrorKind::Configuration, message)
    }

    pub(super) fn caused(
        kind: RedisErrorKind,
        message: impl Into<String>,
        source: impl Into<Source>,
    ) -> Self {
        RedisError { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> RedisErrorKind {
        self.kind
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RedisError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// What to do about a connection that was not made.
pub(super) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "is the server running, and is this its port?",
        io::ErrorKind::TimedOut => "is the host up, and does a firewall let this through?",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "is the network up?",
        _ => "is the host's name right?",
    }
}
