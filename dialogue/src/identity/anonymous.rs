//! Users without a name: who shows the token keeps the id.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{User, sealed};

/// Signs the ids of anonymous users (HMAC-SHA-256, RFC 2104) with a key that lives as long as the process, or
/// as the store.
pub(crate) struct Anonymous {
    key: Hmac<Sha256>,
}

/// What ids of anonymous users begin with.
pub(super) const PREFIX: &str = "anon-";

impl Anonymous {
    /// Signs with `key`: of 64 bytes, the block size of SHA-256.
    pub(super) fn signing(key: &[u8; 64]) -> Self {
        Anonymous { key: Hmac::new(key.into()) }
    }

    pub(crate) fn newcomer(&self) -> User {
        let id = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<12>()));
        let token = format!("{id}.{}", URL_SAFE_NO_PAD.encode(self.mac(&id).finalize().into_bytes()));
        User { id: id.into(), known: None, anonymous_token: Some(token.into()), newcomer: true }
    }

    /// The user that `token` was made for, if it was.
    pub(crate) fn known(&self, token: &str) -> Option<User> {
        let (id, signature) = token.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(id).verify_slice(&signature).ok()?;
        let anonymous_token = Some(Arc::from(token));
        Some(User { id: id.into(), known: None, anonymous_token, newcomer: false })
    }

    /// Whether it looks like one of ours, whatever key signed it.
    pub(crate) fn is_token(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    pub(super) fn seal(&self, text: &str) -> String {
        sealed::seal(&self.key, text)
    }

    pub(super) fn unseal(&self, text: &str) -> Option<String> {
        sealed::unseal(&self.key, text)
    }

    fn mac(&self, id: &str) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(id.as_bytes());
        mac
    }
}

impl Default for Anonymous {
    fn default() -> Self {
        Anonymous::signing(&random())
    }
}

impl std::fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anonymous")
    }
}

/// # Panics
///
/// If the operating system has no randomness to give: no identity would be safe then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_the_id_and_only_its_own() {
        let anonymous = Anonymous::default();
        let user = anonymous.newcomer();
        let token = user.anonymous_token.expect("anonymous users have one");
        assert_eq!(anonymous.known(&token).map(|known| known.id), Some(user.id));
        let (_, signature) = token.split_once('.').expect("id and signature");
        assert!(anonymous.known(&format!("anon-AAAAAAAAAAAAAAAA.{signature}")).is_none());
        assert!(Anonymous::default().known(&token).is_none());
        assert!(anonymous.known("garbage").is_none());
    }
}
