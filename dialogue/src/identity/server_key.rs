//! Server keys, by which the application's backend authenticates its HTTP requests.

use sha2::{Digest, Sha256};

/// The SHA-256 digests of the server keys. Digests are compared in constant time.
#[derive(Default)]
pub(crate) struct ServerKeys(Vec<[u8; 32]>);

impl ServerKeys {
    /// The minimum length of a key.
    pub(crate) const MIN_BYTES: usize = 16;

    pub(crate) fn add(&mut self, key: &str) {
        self.0.push(Sha256::digest(key).into());
    }

    /// Returns whether `key` is one of the keys.
    pub(crate) fn contain(&self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let differ = |other: &[u8; 32]| digest.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b));
        self.0.iter().fold(false, |found, other| found | (differ(other) == 0))
    }
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerKeys({})", self.0.len())
    }
}
