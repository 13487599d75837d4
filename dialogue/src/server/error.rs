//! The error of building and serving a server.

use std::{fmt, io};

use crate::push::PushError;
use crate::store::StoreError;

/// The result of building and serving a [`Server`](super::Server).
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of building or serving a server. Its text is the whole cause with the remedy.
///
/// `Debug` shows the same text as `Display`, since a `main` that returns this error prints `Debug`.
pub struct Error {
    kind: ErrorKind,
}

enum ErrorKind {
    Bind(String, io::Error),
    Serve(io::Error),
    Store(StoreError),
    /// An invalid configuration, or the error of an extension. Its text says everything.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Error::other(message.into())
    }

    pub(super) fn bind(address: String, source: io::Error) -> Self {
        Error { kind: ErrorKind::Bind(address, source) }
    }

    pub(super) fn store(source: StoreError) -> Self {
        Error { kind: ErrorKind::Store(source) }
    }

    pub(super) fn serve(source: io::Error) -> Self {
        Error { kind: ErrorKind::Serve(source) }
    }

    /// Returns an error with the text and the source of `error`.
    pub(crate) fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error { kind: ErrorKind::Other(error.into()) }
    }
}

/// Lets a program's `main` return one error type.
#[cfg(feature = "jwt")]
impl From<crate::identity::jwt::KeyError> for Error {
    fn from(error: crate::identity::jwt::KeyError) -> Self {
        Error::other(error)
    }
}

impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        Error::other(error)
    }
}

/// Lets a program's `main` return one error type.
#[cfg(feature = "push")]
impl From<crate::push::ProviderError> for Error {
    fn from(error: crate::push::ProviderError) -> Self {
        Error::other(error)
    }
}

/// Lets a program's `main` return one error type.
#[cfg(feature = "webpush")]
impl From<crate::push::VapidError> for Error {
    fn from(error: crate::push::VapidError) -> Self {
        Error::other(error)
    }
}

/// Lets a program's `main` return one error type.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::store(error)
    }
}

/// Lets a program's `main` return one error type.
#[cfg(feature = "statsd")]
impl From<crate::observe::StatsDError> for Error {
    fn from(error: crate::observe::StatsDError) -> Self {
        Error::other(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Bind(address, source) if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "can't listen on {address}: the port is in use; stop the other program, or use another port"
                )
            }
            ErrorKind::Bind(address, source) => write!(f, "can't listen on {address}: {source}"),
            ErrorKind::Serve(source) => write!(f, "can't serve: {source}"),
            ErrorKind::Store(source) => write!(f, "can't use the store: {source}"),
            ErrorKind::Other(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Bind(_, source) | ErrorKind::Serve(source) => Some(source),
            ErrorKind::Store(source) => Some(source),
            ErrorKind::Other(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_cause_and_the_remedy() {
        let taken = Error::bind("127.0.0.1:3000".into(), io::ErrorKind::AddrInUse.into());
        assert_eq!(
            format!("{taken:?}"),
            "can't listen on 127.0.0.1:3000: the port is in use; stop the other program, or use another port"
        );
    }
}
