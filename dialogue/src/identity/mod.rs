//! Who somebody is.

mod anonymous;
mod server_key;

use std::sync::Arc;

use crate::{Code, Refusal};

pub(crate) use anonymous::Anonymous;
pub(crate) use server_key::ServerKeys;

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
    /// What shows next time that this is the same anonymous user.
    pub(crate) anonymous_token: Option<Arc<str>>,
}

/// How callers are told apart.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    anonymous: Anonymous,
    pub(crate) server_keys: ServerKeys,
}

impl Identity {
    /// Who shows `token`, over HTTP.
    pub(crate) fn caller(&self, token: Option<&str>) -> Result<Caller, Refusal> {
        match token {
            Some(token) if self.server_keys.hold(token) => Ok(Caller::Backend),
            token => self.user(token).map(Caller::User),
        }
    }

    /// Who shows `token` on a connection: a server key is no identity there.
    pub(crate) fn user(&self, token: Option<&str>) -> Result<User, Refusal> {
        match token {
            None => Ok(self.anonymous.newcomer()),
            // Also when its signing key went with a restart: its client shows none next time, and knows that it is new.
            Some(token) => self.anonymous.known(token).ok_or_else(not_valid),
        }
    }

    /// Whether `token` is `user`'s, for a token that is shown again on a live socket.
    pub(crate) fn renews(&self, token: &str, user: &User) -> Result<(), Refusal> {
        let known = self.anonymous.known(token).ok_or_else(not_valid)?;
        if known.id == user.id {
            Ok(())
        } else {
            Err(Refusal::new(Code::PermissionDenied, "the token is another user's"))
        }
    }
}

fn not_valid() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the token is not valid")
}
