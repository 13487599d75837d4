//! Who somebody is.

mod anonymous;
mod authenticator;
mod expiry;
#[cfg(feature = "jwt")]
pub mod jwt;
mod provides;
mod sealed;
mod server_key;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, header::COOKIE};
use tokio::time::timeout;

pub use authenticator::{AuthError, Authenticated, Authenticator, Credentials};
pub(crate) use provides::Shared;
pub use provides::{Anybody, Asked, Provides};

use crate::{Code, Refusal, caught::caught};
use anonymous::Anonymous;
pub(crate) use anonymous::random;
pub(crate) use authenticator::{AnyAuthenticator, Known};
#[cfg(test)]
pub(crate) use expiry::Clock;
pub(crate) use expiry::{Expiry, LOOK_AT_CLOCK};
pub(crate) use server_key::ServerKeys;

/// Whether a user id is one of those that are made for who shows no token.
pub(crate) fn is_anonymous(id: &str) -> bool {
    id.starts_with(anonymous::PREFIX)
}

/// Whoever sent a request.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// A user, on a connection or over HTTP.
    User(User),
    /// The application's own backend, by a server key.
    Backend,
}

/// A user as the rooms know it.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: Arc<str>,
    /// What the authenticator told; `None` for an anonymous user.
    pub(crate) known: Option<Known>,
    /// What shows next time that this is the same anonymous user.
    pub(crate) anonymous_token: Option<Arc<str>>,
    /// The id was made for this request or connection, which showed no token.
    pub(crate) newcomer: bool,
}

/// How callers are told apart.
#[derive(Default)]
pub(crate) struct Identity {
    pub(crate) authenticator: Option<Box<dyn AnyAuthenticator>>,
    /// Beside an authenticator: whether who shows no token is let in.
    pub(crate) allow_anonymous: bool,
    /// The cookie that holds a token.
    pub(crate) cookie: Option<String>,
    pub(crate) server_keys: ServerKeys,
    /// The clock by which tokens expire.
    pub(crate) clock: expiry::Clock,
    anonymous: Anonymous,
}

/// How long an authenticator may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a user's id.
const LONGEST_ID: usize = 128;

impl Identity {
    /// Who sends an HTTP request.
    pub(crate) async fn caller(&self, credentials: Credentials<'_>) -> Result<Caller, Refusal> {
        if credentials.token.is_some_and(|token| self.server_keys.hold(token)) {
            return Ok(Caller::Backend);
        }
        let user = self.user(credentials).await?;
        user.map(Caller::User).ok_or_else(|| Refusal::new(Code::Unauthenticated, "a token is required"))
    }

    /// Who opens a connection; `None` if nobody is told yet, and a token has to come.
    pub(crate) async fn user(&self, mut credentials: Credentials<'_>) -> Result<Option<User>, Refusal> {
        credentials.token = credentials.token.or_else(|| self.cookie(credentials.headers));
        let Some(authenticator) = &self.authenticator else {
            return self.anonymous(credentials.token).map(Some);
        };
        if credentials.token.is_none() && authenticator.needs_token() {
            return if self.allow_anonymous { self.anonymous(None).map(Some) } else { Ok(None) };
        }
        if self.allow_anonymous && credentials.token.is_some_and(Anonymous::is_token) {
            return self.anonymous(credentials.token).map(Some);
        }
        let asked = async { authenticator.authenticate(&credentials).await };
        let answer = timeout(PATIENCE, caught("authenticate", asked)).await;
        match answer {
            Ok(Some(Ok(known))) => self.named(known).map(Some),
            // An authenticator that asks nobody for a token may find nobody.
            Ok(Some(Err(AuthError::Rejected))) if credentials.token.is_none() => {
                if self.allow_anonymous {
                    self.anonymous(None).map(Some)
                } else {
                    Ok(None)
                }
            }
            Ok(Some(Err(AuthError::Rejected))) => Err(not_valid()),
            Ok(Some(Err(AuthError::Unavailable))) | Err(_) => {
                Err(Refusal::new(Code::Unavailable, AuthError::Unavailable.to_string()))
            }
            Ok(None) => Err(Refusal::new(Code::Internal, "internal error")),
        }
    }

    /// The user that the authenticator named, unless the token has expired or the id may not be public.
    fn named(&self, mut known: Known) -> Result<User, Refusal> {
        known.expires = known.expires.map(|expires| expires.by(&self.clock));
        let user = named(known)?;
        if user.is_expired() { Err(expired()) } else { Ok(user) }
    }

    /// Signs the tokens of anonymous users with that, from now on.
    pub(crate) fn keep_anonymous(&mut self, key: &[u8; 64]) {
        self.anonymous = Anonymous::signing(key);
    }

    /// Returns whether a text was made by [`seal`](Self::seal), by this server or another.
    pub(crate) fn is_sealed(text: &str) -> bool {
        text.starts_with(sealed::PREFIX)
    }

    /// Makes a text that a client hands back and can't read; nodes on one store read each other's.
    pub(crate) fn seal(&self, text: &str) -> String {
        self.anonymous.seal(text)
    }

    /// The text that was sealed.
    pub(crate) fn unseal(&self, sealed: &str) -> Option<String> {
        self.anonymous.unseal(sealed)
    }

    fn anonymous(&self, token: Option<&str>) -> Result<User, Refusal> {
        match token {
            None => Ok(self.anonymous.newcomer()),
            // Also when its signing key went with a restart: its client shows none next time, and knows that it is new.
            Some(token) => self.anonymous.known(token).ok_or_else(not_valid),
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
    /// When the token by which the user is known expires.
    pub(crate) fn expires(&self) -> Option<&Expiry> {
        self.known.as_ref()?.expires.as_ref()
    }

    /// Returns whether the user's token has expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.expires().is_some_and(Expiry::is_over)
    }

    /// Whether the user has the role.
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.known.as_ref().is_some_and(|known| known.roles.iter().any(|own| own == role))
    }
}

/// A user by what the authenticator told, if the id is one that may be public.
fn named(known: Known) -> Result<User, Refusal> {
    if !may_be_public(&known.user_id) {
        tracing::error!(
            "the authenticator yields a user id that is empty, reserved, too long or has control characters"
        );
        return Err(not_valid());
    }
    Ok(User { id: Arc::clone(&known.user_id), known: Some(known), anonymous_token: None, newcomer: false })
}

/// Whether an authenticator may yield the id.
fn may_be_public(id: &str) -> bool {
    let reserved = id == "system" || id.starts_with(anonymous::PREFIX);
    !(id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) || reserved)
}

/// The refusal of what a token was shown for that has expired.
pub(crate) fn expired() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the token expired")
}

fn not_valid() -> Refusal {
    Refusal::new(Code::Unauthenticated, AuthError::Rejected.to_string())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("authenticates", &self.authenticator.is_some())
            .finish_non_exhaustive()
    }
}
