//! Anonymous users: their ids, and the signed tokens by which a client keeps an id over connections.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dialogue_core::identity::ANONYMOUS_PREFIX;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{User, sealed};

/// Signs the ids of anonymous users (HMAC-SHA-256, RFC 2104). The key lives as long as the process, or as the store if
/// it keeps one.
pub(crate) struct Anonymous {
    key: Hmac<Sha256>,
}

impl Anonymous {
    /// Creates a signer with `key`, whose 64 bytes are the block size of SHA-256.
    pub(super) fn with_key(key: &[u8; 64]) -> Self {
        Anonymous { key: Hmac::new(key.into()) }
    }

    /// Creates a user with a random id of 96 bits.
    pub(crate) fn create_user(&self) -> User {
        let id = format!("{ANONYMOUS_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<12>()));
        let token = format!("{id}.{}", URL_SAFE_NO_PAD.encode(self.mac(&id).finalize().into_bytes()));
        User { id: id.into(), authenticated: None, anonymous_token: Some(token.into()), is_new: true }
    }

    /// Returns the user of a token, if its signature is valid.
    pub(crate) fn verify(&self, token: &str) -> Option<User> {
        let (id, signature) = token.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(id).verify_slice(&signature).ok()?;
        let anonymous_token = Some(Arc::from(token));
        Some(User { id: id.into(), authenticated: None, anonymous_token, is_new: false })
    }

    /// Returns whether a token has the form of an anonymous user's, regardless of its signature.
    pub(crate) fn is_token(token: &str) -> bool {
        token.starts_with(ANONYMOUS_PREFIX)
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
        Anonymous::with_key(&random())
    }
}

impl std::fmt::Debug for Anonymous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anonymous")
    }
}

/// Returns random bytes of the operating system.
///
/// # Panics
///
/// If the operating system has none: no id or key would be unpredictable then.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_its_own_id_only() {
        let anonymous = Anonymous::default();
        let user = anonymous.create_user();
        let token = user.anonymous_token.expect("anonymous users have one");
        assert_eq!(anonymous.verify(&token).map(|user| user.id), Some(user.id));
        let (_, signature) = token.split_once('.').expect("id and signature");
        assert!(anonymous.verify(&format!("anon-AAAAAAAAAAAAAAAA.{signature}")).is_none());
        assert!(Anonymous::default().verify(&token).is_none());
        assert!(anonymous.verify("garbage").is_none());
    }
}
