//! A chain of hashes over a room's log, so that a change of it is found.

use sha2::{Digest, Sha256};

/// The next link of a chain: SHA-256 over the link before (32 zero bytes before the first) and the event's frame.
pub(crate) fn link(before: Option<&[u8; 32]>, frame: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before.unwrap_or(&[0; 32])).chain_update(frame).finalize().into()
}
