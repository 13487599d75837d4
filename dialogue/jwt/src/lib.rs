//! Authentication by JSON Web Tokens (RFC 7519), for [Dialogue](https://docs.rs/dialogue).
//!
//! [`Jwt`] is the [`Authenticator`]. Its keys come from the program, a file or, with the feature `jwks`, a URL.
//!
//! Applications depend on `dialogue` with the feature `jwt`, which re-exports this as `dialogue::identity::jwt`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod file;
mod key_source;
mod keys;
mod payload;
mod rules;
mod token;
#[cfg(feature = "jwks")]
mod url;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dialogue_core::identity::{AuthError, Authenticated, Authenticator, Credentials, is_valid_user_id};
use jsonwebtoken::Algorithm;
use serde::de::DeserializeOwned;

pub use error::KeyError;
use file::JwksFile;
use key_source::KeySource;
use keys::{Keys, VerificationKey};
pub use payload::Claims;
use payload::VerifiedPayload;
use rules::ClaimRules;
use token::{TokenError, UnverifiedToken};

/// An authenticator of JSON Web Tokens, signed with HS256, RS256, ES256 or EdDSA (Ed25519).
///
/// The claim `sub` is the user's id: a string of at most 128 bytes without control characters, which other members see.
/// The claim `roles`, a list of strings, contains the user's roles. Other claims are available as a type of the
/// application, see [`claims`](Jwt::claims).
///
/// A key is for one algorithm, and verifies only tokens with it (RFC 8725, section 3.1). By default `exp` is required
/// and has no leeway; `nbf` is checked if it is present. A token with `aud` is refused unless an
/// [`audience`](Jwt::audience) is set that it contains (RFC 7519, section 4.1.3).
///
/// The reason for which a token was refused is logged at level `DEBUG`; the token never is.
///
/// ```
/// use dialogue::Jwt;
///
/// # fn main() -> Result<(), dialogue::identity::jwt::KeyError> {
/// let by_secret = Jwt::hs256("a secret of at least 32 random bytes").audience("chat").issuer("https://id.example");
///
/// # let pem = include_bytes!("tests/pyjwt/es256.pem");
/// let by_public_key = Jwt::es256_pem(pem)?.roles_claim("groups");
/// # Ok(())
/// # }
/// ```
pub struct Jwt<C = Claims> {
    keys: Box<dyn KeySource>,
    rules: ClaimRules,
    read: fn(&VerifiedPayload, &[String]) -> Result<C, TokenError>,
}

impl Jwt {
    /// Accepts tokens signed with a secret that the issuer and this program share (HS256).
    ///
    /// RFC 7518, section 3.2, requires at least 32 bytes. A shorter secret can be guessed from one token; it is
    /// accepted with a warning in the log.
    ///
    /// # Panics
    ///
    /// If the secret is empty.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret that signs tokens is empty");
        if secret.len() < 32 {
            tracing::warn!("the secret that signs tokens has fewer than 32 bytes: it can be guessed");
        }
        Jwt::with_keys(Keys::from(VerificationKey::secret(secret)))
    }

    /// Accepts tokens signed with the RSA key (2,048 to 8,192 bits) whose public key is `pem` (RS256).
    ///
    /// # Errors
    ///
    /// If `pem` is not such a public key.
    pub fn rs256_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::RS256, pem.as_ref())
    }

    /// Accepts tokens signed with the P-256 key whose public key is `pem` (ES256).
    ///
    /// # Errors
    ///
    /// If `pem` is not such a public key.
    pub fn es256_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::ES256, pem.as_ref())
    }

    /// Accepts tokens signed with the Ed25519 key whose public key is `pem` (EdDSA, RFC 8037).
    ///
    /// # Errors
    ///
    /// If `pem` is not such a public key.
    pub fn eddsa_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::EdDSA, pem.as_ref())
    }

    /// Accepts tokens signed with one of the keys of a file: a JWK set (RFC 7517).
    ///
    /// A token's `kid` selects among the keys of the set that are for its algorithm and for signatures; a token without
    /// `kid` is tried with each key, a key without `kid` for each token. Secrets (`oct`) and malformed keys are
    /// ignored.
    ///
    /// The file is read again when a token is checked, at most every 2 s. A file that can't be read, or that contains
    /// no usable key, leaves the previous keys in use and is logged as a warning; an empty set refuses all tokens.
    ///
    /// # Errors
    ///
    /// If the file can't be read or is not a JWK set of at most 1 MiB and 100 keys.
    pub fn jwks_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        Ok(Jwt::with_keys(JwksFile::open(path.as_ref())?))
    }

    fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        Ok(Jwt::with_keys(Keys::from(VerificationKey::pem(algorithm, pem)?)))
    }

    fn with_keys(keys: impl KeySource) -> Self {
        let read = |payload: &VerifiedPayload, roles: &[String]| Ok(payload.claims(roles));
        Jwt { keys: Box::new(keys), rules: ClaimRules::default(), read }
    }
}

impl<C> Jwt<C> {
    /// Sets the type of the identity, which hooks and middleware get.
    ///
    /// It is deserialized from the whole payload, registered claims included. A token that can't be deserialized as it
    /// is refused.
    ///
    /// ```
    /// use dialogue::Jwt;
    /// use serde::Deserialize;
    ///
    /// #[derive(Debug, Clone, Deserialize)]
    /// struct Member {
    ///     name: String,
    ///     #[serde(default)]
    ///     team: Option<u32>,
    /// }
    ///
    /// let jwt = Jwt::hs256("a secret of at least 32 random bytes").claims::<Member>();
    /// ```
    pub fn claims<T>(self) -> Jwt<T>
    where
        T: DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
    {
        Jwt { keys: self.keys, rules: self.rules, read: |payload, _| payload.read() }
    }

    /// Accepts only tokens whose `aud` is or contains this. Several calls accept any of their audiences.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Accepts only tokens whose `iss` is this. Several calls accept any of their issuers.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuers.push(issuer.into());
        self
    }

    /// Sets the tolerated difference of the issuer's clock: `exp` is extended by it, and `nbf` is advanced by it.
    ///
    /// Default: zero.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Also accepts tokens without `exp`. They never expire, and can only be revoked by removing their key. An `exp`
    /// that is present is still checked.
    #[must_use]
    pub fn without_expiry(mut self) -> Self {
        self.rules.expiry_required = false;
        self
    }

    /// Sets the name of the claim that lists the user's roles.
    ///
    /// Default: `roles`. A user whose token lacks the claim has no roles; a token in which it is not a list of strings
    /// is refused.
    #[must_use]
    pub fn roles_claim(mut self, name: impl Into<String>) -> Self {
        self.rules.roles_claim = name.into();
        self
    }

    /// Authenticates the user of `token`, at `now` since the Unix epoch.
    async fn authenticate_at(&self, token: &str, now: Duration) -> Result<Authenticated<C>, TokenError> {
        let token = UnverifiedToken::parse(token)?;
        self.keys.check(&token).await?;
        let payload = VerifiedPayload::parse(token.payload)?;
        let expires = self.rules.check(&payload, now)?;
        let user_id = payload.text("sub").ok_or(TokenError::NoSubject)?;
        if !is_valid_user_id(user_id) {
            return Err(TokenError::InvalidSubject);
        }
        let roles = payload.list(&self.rules.roles_claim).ok_or(TokenError::Roles)?;
        let identity = (self.read)(&payload, &roles)?;
        let mut authenticated = Authenticated::new(user_id, identity);
        (authenticated.roles, authenticated.expires) = (roles, expires);
        Ok(authenticated)
    }
}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Authenticator for Jwt<C> {
    type Identity = C;

    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Authenticated<C>, AuthError> {
        let token = credentials.token().ok_or(AuthError::Rejected)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.authenticate_at(token, now).await.map_err(|error| {
            match error {
                TokenError::InvalidSubject => {
                    tracing::debug!("a correctly signed token was refused: {error}")
                }
                _ => tracing::debug!("a token was refused: {error}"),
            }
            error.into()
        })
    }
}

impl<C> fmt::Debug for Jwt<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Jwt");
        self.keys.show_place(&mut debug);
        debug.field("rules", &self.rules).finish_non_exhaustive()
    }
}
