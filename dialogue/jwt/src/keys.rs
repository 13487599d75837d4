//! Verification keys, and the verification of signatures (RFC 7515, RFC 7517, RFC 7518).

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    error::KeyError,
    token::{TokenError, UnverifiedToken},
};

/// A set of keys, each of which may have signed a token.
pub(super) struct Keys(Vec<VerificationKey>);

/// A key for one algorithm.
pub(super) struct VerificationKey {
    /// The id of the key; a key without one is tried for every token.
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The maximum size of a JWK set.
pub(super) const MAX_SET_BYTES: usize = 1024 * 1024;
/// The maximum number of keys of a JWK set, since each is tried for a token without `kid`.
const MAX_KEYS: usize = 100;

impl Keys {
    /// Parses a JWK set (RFC 7517, section 5). Keys for other algorithms or purposes are ignored.
    ///
    /// # Errors
    ///
    /// If it is not a JWK set, has more than 100 keys, or has keys of which none is usable.
    pub(super) fn set(json: &[u8]) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        // The parser's error is dropped: it may quote the file, which could contain private keys.
        let set: Set = serde_json::from_slice(json).map_err(|_| KeyError::new("it is not a JWK set"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeyError::new(format!("the JWK set has more than {MAX_KEYS} keys")));
        }
        let any = !set.keys.is_empty();
        let keys: Vec<VerificationKey> = set.keys.into_iter().filter_map(VerificationKey::jwk).collect();
        if any && keys.is_empty() {
            return Err(KeyError::new("the JWK set has no public key for RS256, ES256 or EdDSA"));
        }
        Ok(Keys(keys))
    }

    /// Verifies that one of the keys has signed the token; [`TokenError::UnknownKey`] if none has its `kid` and algorithm.
    pub(super) fn check(&self, token: &UnverifiedToken<'_>) -> Result<(), TokenError> {
        let mut error = TokenError::UnknownKey;
        for key in self.0.iter().filter(|key| key.fits(token)) {
            if key.has_signed(token) {
                return Ok(());
            }
            error = TokenError::Signature;
        }
        Err(error)
    }
}

impl From<VerificationKey> for Keys {
    fn from(key: VerificationKey) -> Self {
        Keys(vec![key])
    }
}

impl VerificationKey {
    pub(super) fn secret(secret: &[u8]) -> Self {
        VerificationKey { kid: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret) }
    }

    pub(super) fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::new("it is a private key: tokens are checked with its public part"));
        }
        let public =
            text.contains("-----BEGIN PUBLIC KEY-----") || text.contains("-----BEGIN RSA PUBLIC KEY-----");
        let (what, key) = match algorithm {
            Algorithm::RS256 => ("an RSA key of 2,048 to 8,192 bits", DecodingKey::from_rsa_pem(pem)),
            Algorithm::ES256 => ("a P-256 key", DecodingKey::from_ec_pem(pem)),
            _ => ("an Ed25519 key", DecodingKey::from_ed_pem(pem)),
        };
        key.ok()
            .filter(|_| public)
            .and_then(|key| VerificationKey::new(None, algorithm, key))
            .ok_or_else(|| KeyError::new(format!("it is not the public part of {what} in PEM")))
    }

    /// Converts a key of a set, if it is for a supported signature algorithm.
    fn jwk(json: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(json).ok()?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
            _ => return None,
        };
        let common = &jwk.common;
        let declared = common.key_algorithm.is_none_or(|declared| declared == KeyAlgorithm::from(algorithm));
        let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !(declared && signs && verifies) {
            return None;
        }
        VerificationKey::new(common.key_id.clone(), algorithm, DecodingKey::from_jwk(&jwk).ok()?)
    }

    /// Checks the size of a public key for its algorithm. ring would refuse it too, but only for each token.
    fn new(kid: Option<String>, algorithm: Algorithm, key: DecodingKey) -> Option<Self> {
        let fits = match (algorithm, key.kind()) {
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
                (256..=1024).contains(&n.len())
            }
            // In DER: the modulus, the exponent, and at least 9 bytes of headers.
            (Algorithm::RS256, DecodingKeyKind::SecretOrDer(der)) => (268..=1060).contains(&der.len()),
            // RFC 5480, section 2.2: an uncompressed point.
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                point.len() == 65 && point.first() == Some(&4)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(key)) => key.len() == 32,
            _ => false,
        };
        fits.then_some(VerificationKey { kid, algorithm, key })
    }

    fn fits(&self, token: &UnverifiedToken<'_>) -> bool {
        let kid_matches = match (&self.kid, &token.kid) {
            (Some(own), Some(named)) => own == named,
            _ => true,
        };
        kid_matches && self.algorithm == token.algorithm
    }

    fn has_signed(&self, token: &UnverifiedToken<'_>) -> bool {
        let (message, signature) = (token.message.as_bytes(), token.signature.as_slice());
        let algorithm: &'static dyn VerificationAlgorithm = match (self.algorithm, self.key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                return hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), message, signature).is_ok();
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n, e };
                return key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok();
            }
            (Algorithm::RS256, _) => &RSA_PKCS1_2048_8192_SHA256,
            (Algorithm::ES256, _) => &ECDSA_P256_SHA256_FIXED,
            (Algorithm::EdDSA, _) => &ED25519,
            _ => return false,
        };
        let key = self.key.try_get_as_bytes();
        key.is_ok_and(|key| UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok())
    }
}

#[cfg(test)]
impl Keys {
    pub(super) fn secret(json: Value) -> Self {
        let jwk: Jwk = serde_json::from_value(json).expect("a JWK");
        Keys(vec![VerificationKey {
            kid: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_jwk(&jwk).expect("a secret"),
        }])
    }
}
