//! Tokens made by others, tokens made by hand, and every refusal.

mod file;
mod log;
mod refusals;
#[cfg(feature = "jwks")]
mod url;
mod vectors;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dialogue_core::identity::{AuthError, Authenticated, Authenticator, Credentials};
use http::HeaderMap;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

use super::Jwt;

const SECRET: &str = "correct horse battery staple, said the pony";
/// A time far from now, in 2100.
const LATER: u64 = 4_102_444_800;

/// Authenticates a token as the server does.
async fn authenticate<A: Authenticator>(
    jwt: &A,
    token: &str,
) -> Result<Authenticated<A::Identity>, AuthError> {
    jwt.authenticate(&Credentials::new(&HeaderMap::new()).with_token(Some(token))).await
}

/// Returns the user's id, or the error.
async fn user_id_of<A: Authenticator>(jwt: &A, token: &str) -> Result<String, AuthError> {
    authenticate(jwt, token).await.map(|user| user.user_id)
}

fn message(header: &Value, payload: &[u8]) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload))
}

fn hs256_with(header: &Value, payload: &[u8], secret: &[u8]) -> String {
    let message = message(header, payload);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hs256(claims: &Value) -> String {
    hs256_with(&json!({"alg": "HS256"}), claims.to_string().as_bytes(), SECRET.as_bytes())
}

/// An issuer with an Ed25519 key.
struct Issuer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

impl Issuer {
    fn new(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random bytes");
        Issuer { kid, pair: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("the key just made") }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
    }

    fn token(&self) -> String {
        self.token_with(&json!({"alg": "EdDSA", "kid": self.kid}))
    }

    fn token_with(&self, header: &Value) -> String {
        let message = message(header, json!({"sub": "alice", "exp": LATER}).to_string().as_bytes());
        let signature = self.pair.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
