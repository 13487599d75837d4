//! Signed tokens: compact JWS (RFC 7515) with RS256 and ES256.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256},
};
use serde_json::Value;

use super::PushError;

/// A private key.
pub(super) enum SigningKey {
    Rs256(rsa::KeyPair),
    Es256(EcdsaKeyPair),
}

impl SigningKey {
    /// An RSA key of 2,048 bits or more, as PKCS #8 in PEM.
    pub(super) fn rs256(pem: &str) -> Result<Self, PushError> {
        let key = rsa::KeyPair::from_pkcs8(&der(pem)?);
        key.map(SigningKey::Rs256).map_err(|why| PushError::new(format!("the RSA key is of no use: {why}")))
    }

    /// A P-256 key, as PKCS #8 in PEM: a `.p8` file.
    pub(super) fn es256(pem: &str) -> Result<Self, PushError> {
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(pem)?, &SystemRandom::new());
        key.map(SigningKey::Es256).map_err(|why| PushError::new(format!("the EC key is of no use: {why}")))
    }

    /// The token that says `claims`; `None` if the system has no randomness.
    pub(super) fn sign(&self, mut header: Value, claims: &Value) -> Option<String> {
        header["alg"] = match self {
            SigningKey::Rs256(_) => "RS256".into(),
            SigningKey::Es256(_) => "ES256".into(),
        };
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let random = SystemRandom::new();
        let signature = match self {
            SigningKey::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).ok()?;
                signature
            }
            SigningKey::Es256(key) => key.sign(&random, signed.as_bytes()).ok()?.as_ref().to_vec(),
        };
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What stands between the lines of `-----BEGIN PRIVATE KEY-----`.
fn der(pem: &str) -> Result<Vec<u8>, PushError> {
    let inside = pem
        .split_once("-----BEGIN PRIVATE KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(inside, _)| inside);
    let inside = inside
        .ok_or_else(|| PushError::new("a private key is PKCS #8 in PEM: `-----BEGIN PRIVATE KEY-----`"))?;
    let base64: String = inside.split_whitespace().collect();
    STANDARD.decode(base64).map_err(|_| PushError::new("what stands in the private key's PEM is no base64"))
}
