//! Tokens that this application signs and checks by itself: an [`Authenticator`] of one's own. With an identity provider that
//! issues JSON Web Tokens, [`dialogue::Jwt`] (feature `jwt`) takes the place of this file.

use std::{
    env,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use dialogue::{
    Authenticator,
    identity::{AuthError, Authenticated, Credentials},
};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Member;

/// A key that signs tokens `PAYLOAD.SIGNATURE`: JSON and its HMAC-SHA-256, each in base64url.
pub(crate) struct Tokens {
    secret: Vec<u8>,
    life: Duration,
}

/// The signed part of a token. The page reads it too, to renew the token in time.
#[derive(Serialize, Deserialize)]
struct Payload {
    user: String,
    name: String,
    roles: Vec<String>,
    /// Unix time in seconds, as are `exp` and every time below.
    iat: u64,
    exp: u64,
}

impl Tokens {
    /// Reads the secret from `TOKEN_SECRET`, or makes a random one that ends with the process, and its
    /// tokens with it. A token holds for `TOKEN_SECONDS` (default: an hour).
    pub(crate) fn from_env() -> Self {
        let seconds = env::var("TOKEN_SECONDS").ok().and_then(|text| text.parse().ok());
        let secret = env::var("TOKEN_SECRET").map(String::into_bytes);
        Tokens {
            secret: secret.unwrap_or_else(|_| random::<32>().into()),
            life: Duration::from_secs(seconds.unwrap_or(3_600)),
        }
    }

    /// Signs a token for a user.
    pub(crate) fn sign(&self, user_id: &str, member: &Member, roles: &[String]) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let payload = Payload {
            user: user_id.to_owned(),
            name: member.name.clone(),
            roles: roles.to_vec(),
            iat: now.as_secs(),
            exp: (now + self.life).as_secs(),
        };
        let json = serde_json::to_vec(&payload).expect("strings and numbers are JSON");
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json);
        let signature = self.mac(&payload).finalize().into_bytes();
        format!("{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns the payload of a token that this key signed, whether or not it has expired.
    fn verify(&self, token: &str) -> Option<Payload> {
        let (payload, signature) = token.split_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Compares in constant time.
        self.mac(payload).verify_slice(&signature).ok()?;
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    fn mac(&self, payload: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        mac.chain_update(payload)
    }
}

impl Authenticator for Tokens {
    type Identity = Member;

    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Authenticated<Member>, AuthError> {
        let payload = credentials.token().and_then(|token| self.verify(token)).ok_or(AuthError::Rejected)?;
        let expires = UNIX_EPOCH + Duration::from_secs(payload.exp);
        if expires <= SystemTime::now() {
            return Err(AuthError::Rejected);
        }
        let user = Authenticated::new(payload.user, Member { name: payload.name }).expires(expires);
        Ok(payload.roles.into_iter().fold(user, Authenticated::role))
    }
}

/// Returns random bytes that cannot be guessed.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}
