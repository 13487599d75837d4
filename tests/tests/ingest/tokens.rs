//! Users whose token is their name, with a role for those who have one: `alice`, `alice/member`.

use dialogue::{
    Authenticator,
    identity::{AuthError, Authenticated, Credentials},
};

/// See the [module](self).
pub(crate) struct Tokens;

/// What a token says.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
}

impl Authenticator for Tokens {
    type Identity = Named;

    async fn authenticate(&self, shown: &Credentials<'_>) -> Result<Authenticated<Named>, AuthError> {
        let token = shown.token().ok_or(AuthError::Rejected)?;
        let (name, role) = token.split_once('/').map_or((token, None), |(name, role)| (name, Some(role)));
        let user = Authenticated::new(name, Named { name: name.to_owned() });
        Ok(role.into_iter().fold(user, Authenticated::role))
    }
}
