//! The client of Redis and Valkey: connections that reconnect by themselves, to a single server, to the primary that
//! Sentinels name, or to a Cluster.
//!
//! [`Redis`] is a [`Store`](crate::store::Store), a [`Backplane`](crate::backplane::Backplane) and a
//! [`Quota`](crate::limits::Quota).

#[doc(inline)]
pub use dialogue_redis::{Redis, RedisConnect, RedisError, RedisErrorKind};

use crate::server::Error;

/// Lets a program's `main` return one error type.
impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        Error::other(error)
    }
}
