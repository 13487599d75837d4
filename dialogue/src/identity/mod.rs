//! Authentication: the users of connections and requests.
//!
//! Users are authenticated by the application's [`Authenticator`] (shipped: `Jwt`, feature `jwt`), are anonymous,
//! or, over HTTP, are the application's backend with a server key.

mod anonymous;
mod authenticator;
mod expiry;
pub(crate) mod provides;
mod sealed;
mod server_key;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, header::COOKIE};
use tokio::time::timeout;

pub(crate) use dialogue_core::identity::SERVER_SENDER;
#[doc(inline)]
pub use dialogue_core::identity::{
    AuthError, Authenticated, Authenticator, Credentials, is_anonymous, is_valid_user_id,
};
#[cfg(feature = "jwt")]
#[doc(inline)]
pub use dialogue_jwt as jwt;
pub(crate) use provides::AnyIdentity;
pub use provides::{IdentityRef, Provides};

use crate::{Code, Refusal, catch_panic::catch_panic};
use anonymous::Anonymous;
pub(crate) use anonymous::random;
pub(crate) use authenticator::{AnyAuthenticator, AuthenticatedUser};
#[cfg(test)]
pub(crate) use expiry::Clock;
pub(crate) use expiry::{CLOCK_CHECK_INTERVAL, Expiry};
pub(crate) use server_key::ServerKeys;

/// The authenticated sender of an HTTP request.
#[derive(Debug, Clone)]
pub(crate) enum Principal {
    /// A user.
    User(User),
    /// The application's backend, by a server key.
    Backend,
}

/// A user, authenticated or anonymous.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: Arc<str>,
    /// The user as the authenticator returned it; `None` for an anonymous user.
    pub(crate) authenticated: Option<AuthenticatedUser>,
    /// The token by which an anonymous user keeps the id; `None` for an authenticated user.
    pub(crate) anonymous_token: Option<Arc<str>>,
    /// Set if the id was created for this request or connection, which had no token.
    pub(crate) is_new: bool,
}

/// The configured ways of authentication.
#[derive(Default)]
pub(crate) struct Authentication {
    pub(crate) authenticator: Option<Box<dyn AnyAuthenticator>>,
    /// Admits callers without a token as anonymous users although there is an authenticator.
    pub(crate) allow_anonymous: bool,
    /// The name of a cookie that may contain the token.
    pub(crate) cookie: Option<String>,
    pub(crate) server_keys: ServerKeys,
    /// The wall clock by which tokens expire.
    pub(crate) clock: expiry::Clock,
    anonymous: Anonymous,
}

const AUTHENTICATOR_TIMEOUT: Duration = Duration::from_secs(10);

impl Authentication {
    /// Authenticates the sender of an HTTP request.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` if a token is required and there is none; the errors of [`authenticate`](Self::authenticate).
    pub(crate) async fn authenticate_request(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Refusal> {
        if credentials.token().is_some_and(|token| self.server_keys.contain(token)) {
            return Ok(Principal::Backend);
        }
        let user = self.authenticate(credentials).await?;
        user.map(Principal::User).ok_or_else(|| Refusal::new(Code::Unauthenticated, "a token is required"))
    }

    /// Authenticates the user of a connection. `None` if a token is required and there is none: it has to come in an
    /// `auth` frame.
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` if the token is not valid, `UNAVAILABLE` if it can't be checked now or the authenticator times
    /// out, `INTERNAL` if the authenticator panics.
    pub(crate) async fn authenticate(
        &self,
        mut credentials: Credentials<'_>,
    ) -> Result<Option<User>, Refusal> {
        let token = credentials.token().or_else(|| self.cookie(credentials.headers()));
        credentials = credentials.with_token(token);
        let Some(authenticator) = &self.authenticator else {
            return self.anonymous(token).map(Some);
        };
        if token.is_none() && authenticator.needs_token() {
            return if self.allow_anonymous { self.anonymous(None).map(Some) } else { Ok(None) };
        }
        if self.allow_anonymous && token.is_some_and(Anonymous::is_token) {
            return self.anonymous(token).map(Some);
        }
        let call = async { authenticator.authenticate(&credentials).await };
        let result = timeout(AUTHENTICATOR_TIMEOUT, catch_panic("authenticate", call)).await;
        match result {
            Ok(Some(Ok(authenticated))) => self.accept(authenticated).map(Some),
            // Without a token, a rejection means that the request has no other credentials either.
            Ok(Some(Err(AuthError::Rejected))) if token.is_none() => {
                if self.allow_anonymous {
                    self.anonymous(None).map(Some)
                } else {
                    Ok(None)
                }
            }
            Ok(Some(Err(AuthError::Rejected))) => Err(not_valid()),
            Ok(Some(Err(_))) | Err(_) => {
                Err(Refusal::new(Code::Unavailable, AuthError::Unavailable.to_string()))
            }
            Ok(None) => Err(Refusal::new(Code::Internal, "internal error")),
        }
    }

    /// Returns the user that the authenticator returned, unless the token has expired or the id may not be public.
    fn accept(&self, mut authenticated: AuthenticatedUser) -> Result<User, Refusal> {
        authenticated.expires = authenticated.expires.map(|expires| expires.with_clock(&self.clock));
        let user = checked_user(authenticated)?;
        if user.is_expired() { Err(expired()) } else { Ok(user) }
    }

    /// Sets the key that signs the tokens of anonymous users: nodes with the same store share it.
    pub(crate) fn set_anonymous_key(&mut self, key: &[u8; 64]) {
        self.anonymous = Anonymous::with_key(key);
    }

    /// Returns whether a text has the form of a [sealed](Self::seal) one, of this server or another.
    pub(crate) fn is_sealed(text: &str) -> bool {
        text.starts_with(sealed::PREFIX)
    }

    /// Encrypts a text that a client sends back and can't read. Nodes with the same store can unseal each other's.
    pub(crate) fn seal(&self, text: &str) -> String {
        self.anonymous.seal(text)
    }

    /// Decrypts a sealed text; `None` if it is not one of this deployment.
    pub(crate) fn unseal(&self, sealed: &str) -> Option<String> {
        self.anonymous.unseal(sealed)
    }

    fn anonymous(&self, token: Option<&str>) -> Result<User, Refusal> {
        match token {
            None => Ok(self.anonymous.create_user()),
            // Also if the key was lost by a restart: the client then connects without a token, and gets a new id.
            Some(token) => self.anonymous.verify(token).ok_or_else(not_valid),
        }
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie.as_deref()?;
        let pairs = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        pairs
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.trim_matches('"'))
    }
}

impl User {
    /// Returns the expiry of the user's token; `None` if it never expires.
    pub(crate) fn expires(&self) -> Option<&Expiry> {
        self.authenticated.as_ref()?.expires.as_ref()
    }

    /// Returns whether the user's token has expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires().is_some_and(Expiry::has_passed)
    }

    /// Returns whether the user has the role.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.authenticated.as_ref().is_some_and(|user| user.roles.iter().any(|own| own == role))
    }
}

/// Returns the user, if its id may be public.
fn checked_user(authenticated: AuthenticatedUser) -> Result<User, Refusal> {
    if !is_valid_user_id(&authenticated.user_id) {
        tracing::error!(
            "the authenticator returned a user id that is empty, reserved, too long or has control characters"
        );
        return Err(not_valid());
    }
    let id = Arc::clone(&authenticated.user_id);
    Ok(User { id, authenticated: Some(authenticated), anonymous_token: None, is_new: false })
}

/// Returns the refusal of a request whose token has expired.
pub(crate) fn expired() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the token expired")
}

fn not_valid() -> Refusal {
    Refusal::new(Code::Unauthenticated, AuthError::Rejected.to_string())
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication")
            .field("has_authenticator", &self.authenticator.is_some())
            .finish_non_exhaustive()
    }
}
