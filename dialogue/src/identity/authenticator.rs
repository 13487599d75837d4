//! The application's [`Authenticator`] as the server holds it, whatever the type of its identities.

use std::{any::Any, fmt, pin::Pin, sync::Arc};

use super::{AuthError, Authenticated, Authenticator, Credentials, expiry::Expiry};

/// An [`Authenticated`] user without the identity's type.
#[derive(Clone)]
pub(crate) struct AuthenticatedUser {
    pub(crate) user_id: Arc<str>,
    pub(crate) identity: Arc<dyn Any + Send + Sync>,
    pub(crate) roles: Arc<[String]>,
    pub(crate) expires: Option<Expiry>,
}

/// An object-safe [`Authenticator`]. Each call allocates a boxed future, which is paid once per connection or request.
pub(crate) trait AnyAuthenticator: Send + Sync {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<AuthenticatedUser, AuthError>> + Send + 'a>>;

    fn needs_token(&self) -> bool;
}

impl<T: Authenticator> AnyAuthenticator for T {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<AuthenticatedUser, AuthError>> + Send + 'a>> {
        Box::pin(async move {
            let Authenticated { user_id, identity, roles, expires, .. } =
                Authenticator::authenticate(self, credentials).await?;
            let expires = expires.map(Expiry::new);
            Ok(AuthenticatedUser {
                user_id: user_id.into(),
                identity: Arc::new(identity),
                roles: roles.into(),
                expires,
            })
        })
    }

    fn needs_token(&self) -> bool {
        Authenticator::needs_token(self)
    }
}

impl fmt::Debug for AuthenticatedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedUser").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
