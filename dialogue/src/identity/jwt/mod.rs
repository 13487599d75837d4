//! Users who show a JSON Web Token (RFC 7519).
//!
//! [`Jwt`] is the authenticator; its keys come from the program, a file or, with the feature `jwks`, a URL.

mod error;
mod file;
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

use jsonwebtoken::Algorithm;
use serde::de::DeserializeOwned;

use super::{AuthError, Authenticated, Authenticator, Credentials, may_be_public};
pub use error::KeyError;
use file::JwksFile;
use keys::{Key, Keys};
pub use payload::Claims;
use payload::Payload;
use rules::Rules;
use token::{Refused, Token};
#[cfg(feature = "jwks")]
use url::JwksUrl;

/// Tells users by a JSON Web Token, signed with HS256, RS256, ES256 or EdDSA (Ed25519).
///
/// The claim `sub` is the user's id: a string of at most 128 bytes, without control characters, which other members
/// see. The claim `roles`, a list of strings, is what the user may do. What the application wants to know beside them
/// is a type of its own, see [`claims`](Jwt::claims).
///
/// A key decides the algorithm of the tokens it verifies, never the token. `exp` is required and has no leeway, unless
/// told otherwise; `nbf` holds where there is one. A token with `aud` is refused unless one of them is an
/// [`audience`](Jwt::audience) of ours (RFC 7519, section 4.1.3).
///
/// Why a token was refused is logged at the level `debug`; the token never is.
///
/// ```
/// use dialogue::Jwt;
///
/// # fn main() -> Result<(), dialogue::jwt::KeyError> {
/// let by_secret = Jwt::hs256("a secret of at least 32 random bytes").audience("chat").issuer("https://id.example");
///
/// # let pem = include_bytes!("tests/pyjwt/es256.pem");
/// let by_public_key = Jwt::es256_pem(pem)?.roles_claim("groups");
/// # Ok(())
/// # }
/// ```
pub struct Jwt<C = Claims> {
    source: Source,
    rules: Rules,
    read: fn(&Payload, &[String]) -> Result<C, Refused>,
}

/// Where the keys come from.
enum Source {
    Fixed(Keys),
    File(JwksFile),
    #[cfg(feature = "jwks")]
    Url(JwksUrl),
}

impl Jwt {
    /// Tokens signed with a secret that the issuer and this program share.
    ///
    /// RFC 7518, section 3.2, asks for 32 bytes or more; a shorter secret can be guessed from one token, and is warned
    /// of in the log.
    ///
    /// # Panics
    ///
    /// If the secret is empty: anybody could sign.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        assert!(!secret.is_empty(), "the secret that signs tokens is empty");
        if secret.len() < 32 {
            tracing::warn!("the secret that signs tokens has fewer than 32 bytes: it can be guessed");
        }
        Jwt::from(Source::Fixed(Key::secret(secret).into()))
    }

    /// Tokens signed with the RSA key (2,048 to 8,192 bits) whose public part is `pem`.
    ///
    /// # Errors
    ///
    /// If it is no such public key.
    pub fn rs256_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::RS256, pem.as_ref())
    }

    /// Tokens signed with the P-256 key whose public part is `pem`.
    ///
    /// # Errors
    ///
    /// If it is no such public key.
    pub fn es256_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::ES256, pem.as_ref())
    }

    /// Tokens signed with the Ed25519 key whose public part is `pem` (RFC 8037).
    ///
    /// # Errors
    ///
    /// If it is no such public key.
    pub fn eddsa_pem(pem: impl AsRef<[u8]>) -> Result<Self, KeyError> {
        Jwt::pem(Algorithm::EdDSA, pem.as_ref())
    }

    /// Tokens signed with one of the keys of a file: a JWK set (RFC 7517).
    ///
    /// A token's `kid` chooses among the keys of the set that are for its algorithm and for signatures; a token or key
    /// without `kid` is tried with each. Secrets (`oct`) in the set are passed over, and so is what can't be read.
    ///
    /// The file is read again when a token comes, at most every 2 s, so a change holds from then on. A file that became
    /// unreadable, or holds no key of use, leaves the keys as they were and is warned of; an empty set refuses all.
    ///
    /// # Errors
    ///
    /// If the file can't be read or is not a JWK set of at most 1 MiB and 100 keys.
    pub fn jwks_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        Ok(Jwt::from(Source::File(JwksFile::open(path.as_ref())?)))
    }

    /// Tokens signed with one of the keys that a URL serves: a JWK set (RFC 7517), as for
    /// [`jwks_file`](Jwt::jwks_file).
    ///
    /// The set is fetched with the first token, then at most every 10 minutes, behind the back of the token that found
    /// it old ([`refresh`](Jwt::refresh)). A `kid` that is not in it has it fetched at once, and its token waits, but
    /// not within 10 s of the fetch before: forged `kid`s make no storm. A fetch has 5 s and follows no redirect.
    ///
    /// While the key server is away or sends something else, the keys stay as they were; a token for a key that is not
    /// among them is answered [`AuthError::Unavailable`].
    ///
    /// # Errors
    ///
    /// If it is no URL, or one of plain `http` to another machine.
    ///
    /// ```
    /// use dialogue::Jwt;
    ///
    /// # fn main() -> Result<(), dialogue::jwt::KeyError> {
    /// let jwt = Jwt::jwks_url("https://id.example/.well-known/jwks.json")?.issuer("https://id.example");
    /// assert!(Jwt::jwks_url("http://id.example/.well-known/jwks.json").is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "jwks")]
    pub fn jwks_url(url: &str) -> Result<Self, KeyError> {
        Ok(Jwt::from(Source::Url(JwksUrl::new(url)?)))
    }

    fn pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        Ok(Jwt::from(Source::Fixed(Key::pem(algorithm, pem)?.into())))
    }
}

impl From<Source> for Jwt {
    fn from(source: Source) -> Self {
        Jwt { source, rules: Rules::default(), read: |payload, roles| Ok(payload.claims(roles)) }
    }
}

impl<C> Jwt<C> {
    /// With a type of the application's for what the token says: the identity that hooks and middleware see.
    ///
    /// It is read from the whole payload, registered claims included. A token that doesn't have its form is refused.
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
        Jwt { source: self.source, rules: self.rules, read: |payload, _| payload.read() }
    }

    /// Only tokens whose `aud` is or holds this; said several times, one of them.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Only tokens whose `iss` is this; said several times, one of them.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.rules.issuers.push(issuer.into());
        self
    }

    /// How far the issuer's clock may be from ours: `exp` holds so much longer, and `nbf` so much earlier.
    ///
    /// Default: zero.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.rules.leeway = leeway;
        self
    }

    /// Takes tokens without `exp` too: they hold for ever, so only the loss of a key ends them. An `exp` that is there
    /// still holds.
    #[must_use]
    pub fn without_expiry(mut self) -> Self {
        self.rules.expiry_required = false;
        self
    }

    /// The claim that lists the user's roles.
    ///
    /// Default: `roles`. A token without it has none; one where it is no list of strings is refused.
    #[must_use]
    pub fn roles_claim(mut self, name: impl Into<String>) -> Self {
        self.rules.roles_claim = name.into();
        self
    }

    /// How old the keys from a URL may get before they are fetched again. Other keys don't heed it.
    ///
    /// Default: 10 minutes.
    #[cfg(feature = "jwks")]
    #[must_use]
    pub fn refresh(mut self, every: Duration) -> Self {
        if let Source::Url(url) = &mut self.source {
            url.refresh = every;
        }
        self
    }

    /// Who shows `token`, at `now` since the epoch.
    async fn at(&self, token: &str, now: Duration) -> Result<Authenticated<C>, Refused> {
        let token = Token::parse(token)?;
        self.source.check(&token).await?;
        let payload = Payload::parse(token.payload)?;
        let expires = self.rules.check(&payload, now)?;
        let user_id = payload.text("sub").ok_or(Refused::Subject)?;
        if !may_be_public(user_id) {
            return Err(Refused::Reserved);
        }
        let roles = payload.list(&self.rules.roles_claim).ok_or(Refused::Roles)?;
        let identity = (self.read)(&payload, &roles)?;
        Ok(Authenticated { user_id: user_id.to_owned(), identity, roles, expires })
    }
}

impl<C: Clone + fmt::Debug + Send + Sync + 'static> Authenticator for Jwt<C> {
    type Identity = C;

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<C>, AuthError> {
        let token = shown.token().ok_or(AuthError::Rejected)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.at(token, now).await.map_err(|refused| {
            match refused {
                Refused::Reserved => tracing::debug!("a token of ours was refused: {refused}"),
                _ => tracing::debug!("a token was refused: {refused}"),
            }
            refused.into()
        })
    }
}

impl Source {
    async fn check(&self, token: &Token<'_>) -> Result<(), Refused> {
        match self {
            Source::Fixed(keys) => keys.check(token),
            Source::File(file) => file.keys().await.check(token),
            #[cfg(feature = "jwks")]
            Source::Url(url) => url.check(token).await,
        }
    }
}

impl<C> fmt::Debug for Jwt<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Jwt");
        match &self.source {
            Source::Fixed(_) => &mut debug,
            Source::File(file) => debug.field("file", &file.path()),
            #[cfg(feature = "jwks")]
            Source::Url(url) => debug.field("host", &url.host()),
        };
        debug.field("rules", &self.rules).finish_non_exhaustive()
    }
}
