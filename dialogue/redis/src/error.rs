//! [`RedisError`], the error of connecting to Redis.

use std::{error::Error, fmt, io};

/// The failure of a connection to Redis. Its text says what was attempted, the outcome, and what to do; it never holds
/// a password.
#[derive(Debug)]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
    source: Option<Source>,
}

/// The kind of a [`RedisError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// An option is invalid: a URL, the prefix, a certificate.
    Configuration,
    /// The server can't be reached, or didn't reply within the timeout.
    Unreachable,
    /// The server doesn't accept the user, the password or the database.
    Denied,
    /// The TLS handshake failed.
    Tls,
    /// The server can't be used: it is too old, a replica, or of another kind (standalone, Cluster node, Sentinel).
    Unsupported,
}

type Source = Box<dyn Error + Send + Sync>;

impl RedisError {
    pub(crate) fn new(kind: RedisErrorKind, message: impl Into<String>) -> Self {
        RedisError { kind, message: message.into(), source: None }
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        RedisError::new(RedisErrorKind::Configuration, message)
    }

    pub(crate) fn caused(
        kind: RedisErrorKind,
        message: impl Into<String>,
        source: impl Into<Source>,
    ) -> Self {
        RedisError { kind, message: message.into(), source: Some(source.into()) }
    }

    /// Returns the kind of the error.
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

/// Lets a program's `main` return one error type.
impl From<RedisError> for dialogue_core::Error {
    fn from(error: RedisError) -> Self {
        dialogue_core::Error::other(error)
    }
}

/// Returns a hint on a failed connection, for the error's text.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "is the server running, and is this its port?",
        io::ErrorKind::TimedOut => "is the host up, and does a firewall let this through?",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "is the network up?",
        _ => "is the host's name right?",
    }
}
