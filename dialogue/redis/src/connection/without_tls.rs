//! The place of `tls.rs` without the feature `tls`: a TLS client that can't be made, so that the rest of the package is
//! the same with and without the feature.

use std::{convert::Infallible, io};

use tokio::net::TcpStream;

use super::connector::ByteStream;
use crate::error::RedisError;

/// A TLS client, of which there is none.
pub(crate) struct Tls(Infallible);

/// Certificates from the options, which have none.
#[derive(Default)]
pub(crate) struct Certificates {}

impl Tls {
    pub(crate) fn new(_: &Certificates) -> Result<Self, RedisError> {
        Err(RedisError::configuration("a rediss:// URL needs TLS, which is behind the feature `redis-tls`"))
    }

    pub(crate) async fn wrap(&self, _: &str, _: TcpStream) -> io::Result<Box<dyn ByteStream>> {
        match self.0 {}
    }
}
