//! The trait by which an application authenticates its users.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc, time::SystemTime};

use http::HeaderMap;

/// Authenticates users by their credentials.
///
/// ```
/// use dialogue::{Authenticator, identity::{AuthError, Authenticated, Credentials}};
///
/// /// Members of a club who all know their own secret.
/// struct Club;
///
/// #[derive(Debug, Clone)]
/// struct Member { name: String }
///
/// impl Authenticator for Club {
///     type Identity = Member;
///
///     async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<Member>, AuthError> {
///         match shown.token() {
///             Some("correct horse") => Ok(Authenticated::new("alice", Member { name: "Alice".into() }).role("member")),
///             _ => Err(AuthError::Rejected),
///         }
///     }
/// }
/// ```
pub trait Authenticator: Send + Sync + 'static {
    /// The application's data about a user, which hooks and middleware get.
    type Identity: Clone + fmt::Debug + Send + Sync + 'static;

    /// Authenticates the user with these credentials.
    ///
    /// Is called once for each connection and HTTP request with a token, and for each token by which an open connection
    /// renews itself; if [`needs_token`](Authenticator::needs_token) is `false`, also for those without a token. The
    /// timeout is 10 s, after which the client gets `UNAVAILABLE`.
    ///
    /// # Errors
    ///
    /// See [`AuthError`].
    fn authenticate(
        &self,
        credentials: &Credentials<'_>,
    ) -> impl Future<Output = Result<Authenticated<Self::Identity>, AuthError>> + Send;

    /// Returns whether authentication requires a token; by default `true`. An authenticator that reads other headers,
    /// such as a cookie or a client certificate's, returns `false`, and is then also called for requests without a
    /// token.
    fn needs_token(&self) -> bool {
        true
    }
}

/// The prefix of the ids of anonymous users.
#[doc(hidden)]
pub const ANONYMOUS_PREFIX: &str = "anon-";

/// The id of the sender of events of the application itself, unless its backend chose a name. No user has it.
#[doc(hidden)]
pub const SERVER_SENDER: &str = "system";
/// The maximum length of a user's id.
const MAX_USER_ID_BYTES: usize = 128;

/// Returns whether an [`Authenticator`] may return this id. The id must not be empty, be longer than 128 bytes or have
/// control characters, and `system` and `anon-…` are reserved. The server refuses a user with another id as
/// `UNAUTHENTICATED`, so that an authenticator checks the id only to tell the reason.
pub fn is_valid_user_id(user_id: &str) -> bool {
    let is_reserved = user_id == SERVER_SENDER || is_anonymous(user_id);
    !user_id.is_empty()
        && user_id.len() <= MAX_USER_ID_BYTES
        && !user_id.contains(char::is_control)
        && !is_reserved
}

/// Returns whether an id is that of an anonymous user, which the server made.
pub fn is_anonymous(user_id: &str) -> bool {
    user_id.starts_with(ANONYMOUS_PREFIX)
}

/// The credentials of a connection or request. `Debug` does not show the token.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    token: Option<&'a str>,
    headers: &'a HeaderMap,
    peer: Option<SocketAddr>,
}

impl<'a> Credentials<'a> {
    /// Creates the credentials of a request or handshake with these headers. The server does so; an application does to
    /// test its [`Authenticator`].
    pub fn new(headers: &'a HeaderMap) -> Self {
        Credentials { token: None, headers, peer: None }
    }

    /// Sets the bearer token.
    #[must_use]
    pub fn with_token(mut self, token: Option<&'a str>) -> Self {
        self.token = token;
        self
    }

    /// Sets the address of the TCP peer.
    #[must_use]
    pub fn with_peer(mut self, peer: Option<SocketAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// Returns the bearer token, from any of the places that the wire protocol allows.
    pub fn token(&self) -> Option<&'a str> {
        self.token
    }

    /// Returns the headers of the request or handshake; empty for a token in an `auth` frame.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the address of the TCP peer, if the server knows it; `None` for a token in an `auth` frame.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// An authenticated user.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Authenticated<I> {
    /// The public id, which every member of a room sees: never a token. At most 128 bytes without control characters;
    /// `system` and `anon-…` are reserved.
    pub user_id: String,
    /// The application's data about the user.
    pub identity: I,
    /// The names of the user's roles.
    pub roles: Vec<String>,
    /// The expiry of the token, by this machine's wall clock; `None` if it never expires. Connections are closed at
    /// this time unless they have sent a newer token, and the token is refused from then on.
    pub expires: Option<SystemTime>,
}

impl<I> Authenticated<I> {
    /// Creates a user without roles, whose token never expires.
    pub fn new(user_id: impl Into<String>, identity: I) -> Self {
        Authenticated { user_id: user_id.into(), identity, roles: Vec::new(), expires: None }
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Sets the expiry of the token.
    #[must_use]
    pub fn expires(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }
}

/// The failure of an authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// The token is not valid, or has expired: `UNAUTHENTICATED`.
    Rejected,
    /// The token can't be checked now, since a directory or key server is unavailable: `UNAVAILABLE`.
    Unavailable,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthError::Rejected => "the token is not valid",
            AuthError::Unavailable => "tokens can't be checked now; try again",
        })
    }
}

impl std::error::Error for AuthError {}

/// An authenticator that the application shares with its own routes.
impl<T: Authenticator> Authenticator for Arc<T> {
    type Identity = T::Identity;

    async fn authenticate(
        &self,
        credentials: &Credentials<'_>,
    ) -> Result<Authenticated<Self::Identity>, AuthError> {
        T::authenticate(self, credentials).await
    }

    fn needs_token(&self) -> bool {
        T::needs_token(self)
    }
}
