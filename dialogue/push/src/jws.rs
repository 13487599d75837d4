//! Signed tokens for FCM and APNs: the JWS compact serialization (RFC 7515, section 7.1) with RS256 and ES256 (RFC
//! 7518).

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

use crate::ProviderError;

/// A private key that signs tokens.
pub(crate) enum SigningKey {
    Rs256(rsa::KeyPair),
    Es256(EcdsaKeyPair),
}

impl SigningKey {
    /// Parses an RSA key of at least 2,048 bits, in PKCS #8 and PEM.
    pub(crate) fn rs256(pem: &str) -> Result<Self, ProviderError> {
        let key = rsa::KeyPair::from_pkcs8(&decode_pem(pem)?);
        key.map(SigningKey::Rs256)
            .map_err(|error| ProviderError::new(format!("can't read the RSA key: {error}")))
    }

    /// Parses a P-256 key, in PKCS #8 and PEM: a `.p8` file.
    pub(crate) fn es256(pem: &str) -> Result<Self, ProviderError> {
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &decode_pem(pem)?,
            &SystemRandom::new(),
        );
        key.map(SigningKey::Es256)
            .map_err(|error| ProviderError::new(format!("can't read the EC key: {error}")))
    }

    /// Returns a signed token with these claims; `None` if the system's random number generator fails.
    pub(crate) fn sign(&self, mut header: Value, claims: &Value) -> Option<String> {
        header["alg"] = match self {
            SigningKey::Rs256(_) => "RS256".into(),
            SigningKey::Es256(_) => "ES256".into(),
        };
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
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

/// Decodes the base64 in a PEM block `PRIVATE KEY`.
fn decode_pem(pem: &str) -> Result<Vec<u8>, ProviderError> {
    let inside = pem
        .split_once("-----BEGIN PRIVATE KEY-----")
        .and_then(|(_, rest)| rest.split_once("-----END PRIVATE KEY-----"))
        .map(|(inside, _)| inside);
    let inside = inside.ok_or_else(|| {
        ProviderError::new(
            "a private key has to be PKCS #8 in PEM, with a block `-----BEGIN PRIVATE KEY-----`",
        )
    })?;
    let base64: String = inside.split_whitespace().collect();
    STANDARD.decode(base64).map_err(|_| ProviderError::new("the PEM of the private key is not base64"))
}
