//! The client that opens a room, and the subjects that its new rooms count for.

use std::{net::IpAddr, sync::Arc};

use crate::{identity::is_anonymous, limits::ConnectionLimiter};

/// The client whose request opens a room instance. The application itself has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opener {
    pub(crate) user: Arc<str>,
    /// Its address without the part that its owner chooses; `None` where addresses aren't counted.
    pub(crate) address: Option<IpAddr>,
}

/// The subject that a new room counts for: its opener's user, or the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::live) enum QuotaSubject {
    User(Arc<str>),
    Address(IpAddr),
    /// All clients that have neither a token nor a counted address: each of them can have any number of ids.
    Anyone,
}

impl Opener {
    pub(crate) fn new(user: &Arc<str>, address: Option<IpAddr>, connections: &ConnectionLimiter) -> Self {
        Opener { user: Arc::clone(user), address: connections.counted_address(address) }
    }

    /// Returns the subjects that a new room of the client counts for.
    pub(super) fn subjects(&self) -> impl Iterator<Item = QuotaSubject> {
        let from = match self.address {
            Some(address) => Some(QuotaSubject::Address(address)),
            None => is_anonymous(&self.user).then_some(QuotaSubject::Anyone),
        };
        [Some(QuotaSubject::User(Arc::clone(&self.user))), from].into_iter().flatten()
    }

    /// Returns whether its new rooms count for the subject.
    pub(super) fn is(&self, subject: &QuotaSubject) -> bool {
        match subject {
            QuotaSubject::User(user) => self.user == *user,
            QuotaSubject::Address(address) => self.address == Some(*address),
            QuotaSubject::Anyone => self.address.is_none() && is_anonymous(&self.user),
        }
    }
}
