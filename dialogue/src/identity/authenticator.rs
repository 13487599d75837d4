//! How an application tells its users apart.

use std::{any::Any, fmt, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::SystemTime};

use http::HeaderMap;

use super::expiry::Expiry;

/// Tells who shows a token.
///
/// ```
/// use dialogue::{AuthError, Authenticated, Authenticator, Credentials};
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
    /// What the application knows of a user.
    type Identity: Clone + fmt::Debug + Send + Sync + 'static;

    /// Tells who shows `credentials`.
    ///
    /// Called once for each connection and HTTP request that shows a token (or, see
    /// [`needs_token`](Authenticator::needs_token), for each), and again for each token that a live connection renews
    /// itself with. It has 10 s, after which the caller is told to try again.
    ///
    /// # Errors
    ///
    /// See [`AuthError`].
    fn authenticate(
        &self,
        credentials: &Credentials<'_>,
    ) -> impl Future<Output = Result<Authenticated<Self::Identity>, AuthError>> + Send;

    /// Whether there is nobody to tell without a token. `false` for one that reads a cookie or a client certificate's
    /// header: it is asked then though no token was shown.
    fn needs_token(&self) -> bool {
        true
    }
}

/// What somebody shows of themselves. `Debug` shows no token.
pub struct Credentials<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) peer: Option<SocketAddr>,
}

impl<'a> Credentials<'a> {
    /// The bearer token, from wherever the wire protocol lets it come.
    pub fn token(&self) -> Option<&'a str> {
        self.token
    }

    /// The headers of the request or the handshake; none where the token came in an `auth` frame.
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The address at the other end of the socket, where the server was told of it; not where the token came in an `auth`
    /// frame.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Who somebody is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Authenticated<I> {
    /// The public id: every member of a room sees it. Never a token; `system` and `anon-…` are reserved.
    pub user_id: String,
    /// What the application knows of the user.
    pub identity: I,
    /// What the user may do, as names.
    pub roles: Vec<String>,
    /// When the token expires, by this machine's wall clock: its connections end then, unless they show a newer one,
    /// and from then on it is refused wherever it is shown. A time that has passed already is a token that is not
    /// valid.
    pub expires: Option<SystemTime>,
}

impl<I> Authenticated<I> {
    /// A user without roles, for ever.
    pub fn new(user_id: impl Into<String>, identity: I) -> Self {
        Authenticated { user_id: user_id.into(), identity, roles: Vec::new(), expires: None }
    }

    /// With one more role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// Until `time`.
    #[must_use]
    pub fn expires(mut self, time: SystemTime) -> Self {
        self.expires = Some(time);
        self
    }
}

/// Why nobody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthError {
    /// The token is not valid, or no longer: `UNAUTHENTICATED`.
    Rejected,
    /// It can't be told now, since a directory or a key server is away: `UNAVAILABLE`.
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

/// Whoever an authenticator told of, without the identity's type.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) user_id: Arc<str>,
    pub(crate) identity: Arc<dyn Any + Send + Sync>,
    pub(crate) roles: Arc<[String]>,
    pub(crate) expires: Option<Expiry>,
}

/// One that the application shares with its own routes.
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

/// An [`Authenticator`] without its type: the one box that authentication costs, once a connection.
pub(crate) trait AnyAuthenticator: Send + Sync {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Known, AuthError>> + Send + 'a>>;

    fn needs_token(&self) -> bool;
}

impl<T: Authenticator> AnyAuthenticator for T {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Known, AuthError>> + Send + 'a>> {
        Box::pin(async move {
            let Authenticated { user_id, identity, roles, expires } =
                Authenticator::authenticate(self, credentials).await?;
            let expires = expires.map(Expiry::new);
            Ok(Known { user_id: user_id.into(), identity: Arc::new(identity), roles: roles.into(), expires })
        })
    }

    fn needs_token(&self) -> bool {
        Authenticator::needs_token(self)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
