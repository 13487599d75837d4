//! Why a server can't be built or served.

use std::{fmt, io};

#[cfg(feature = "jwt")]
use crate::jwt::KeyError;
#[cfg(feature = "statsd")]
use crate::observe::StatsDError;
#[cfg(feature = "push")]
use crate::push::PushError;
#[cfg(feature = "redis")]
use crate::redis::RedisError;
use crate::store::StoreError;

/// Why a server can't be built or served.
///
/// `Debug` shows the same sentence as `Display`, since it is what a `main` that returns this error prints.
pub struct Error {
    kind: Kind,
}

enum Kind {
    Configuration(String),
    Bind(String, io::Error),
    Serve(io::Error),
    Store(StoreError),
    #[cfg(feature = "jwt")]
    Keys(KeyError),
    #[cfg(feature = "push")]
    Push(PushError),
    #[cfg(feature = "redis")]
    Redis(RedisError),
    #[cfg(feature = "statsd")]
    StatsD(StatsDError),
}

impl Error {
    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Error { kind: Kind::Configuration(message.into()) }
    }

    pub(super) fn bind(address: String, source: io::Error) -> Self {
        Error { kind: Kind::Bind(address, source) }
    }

    pub(super) fn store(source: StoreError) -> Self {
        Error { kind: Kind::Store(source) }
    }

    pub(super) fn serve(source: io::Error) -> Self {
        Error { kind: Kind::Serve(source) }
    }
}

/// So that a program's `main` has one kind of error.
#[cfg(feature = "jwt")]
impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Error { kind: Kind::Keys(error) }
    }
}

/// So that a program's `main` has one kind of error.
#[cfg(feature = "push")]
impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        Error { kind: Kind::Push(error) }
    }
}

/// So that a program's `main` has one kind of error.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::store(error)
    }
}

/// So that a program's `main` has one kind of error.
#[cfg(feature = "redis")]
impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Error { kind: Kind::Redis(error) }
    }
}

/// So that a program's `main` has one kind of error.
#[cfg(feature = "statsd")]
impl From<StatsDError> for Error {
    fn from(error: StatsDError) -> Self {
        Error { kind: Kind::StatsD(error) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Configuration(message) => f.write_str(message),
            Kind::Bind(address, source) if source.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "can't listen on {address}: another program does; stop it, or take another port")
            }
            Kind::Bind(address, source) => write!(f, "can't listen on {address}: {source}"),
            Kind::Serve(source) => write!(f, "can't go on serving: {source}"),
            Kind::Store(source) => write!(f, "the store can't be used: {source}"),
            #[cfg(feature = "jwt")]
            Kind::Keys(error) => write!(f, "{error}"),
            #[cfg(feature = "push")]
            Kind::Push(error) => write!(f, "{error}"),
            #[cfg(feature = "redis")]
            Kind::Redis(error) => write!(f, "{error}"),
            #[cfg(feature = "statsd")]
            Kind::StatsD(error) => write!(f, "{error}"),
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
            Kind::Configuration(_) => None,
            Kind::Bind(_, source) | Kind::Serve(source) => Some(source),
            Kind::Store(source) => Some(source),
            #[cfg(feature = "jwt")]
            Kind::Keys(error) => error.source(),
            #[cfg(feature = "push")]
            Kind::Push(error) => error.source(),
            #[cfg(feature = "redis")]
            Kind::Redis(error) => error.source(),
            #[cfg(feature = "statsd")]
            Kind::StatsD(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_prints_a_sentence_with_the_way_out() {
        let taken = Error::bind("127.0.0.1:3000".into(), io::ErrorKind::AddrInUse.into());
        assert_eq!(
            format!("{taken:?}"),
            "can't listen on 127.0.0.1:3000: another program does; stop it, or take another port"
        );
    }
}
