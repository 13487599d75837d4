//! Whom a limit counts.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use crate::identity::{User, is_anonymous};

/// Whom a limit counts: a user, or an address while anonymous. `Display` tells them apart, on all instances alike:
/// `user alice`, `address 203.0.113.7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    User(Arc<str>),
    Address(IpAddr),
}

impl Subject {
    /// Who is anonymous has a new id at will, and so is known by the address; or by the id after all, where the server
    /// wasn't told of addresses.
    pub(crate) fn of(user: &User, address: Option<IpAddr>) -> Self {
        match address {
            Some(address) if is_anonymous(&user.id) => Subject::at(address),
            _ => Subject(Kind::User(Arc::clone(&user.id))),
        }
    }

    /// Returns whether the subject is an address, as which everybody there counts who shows no token.
    pub(crate) fn is_address(&self) -> bool {
        matches!(self.0, Kind::Address(_))
    }

    /// Whoever is at an address. Of IPv6 the first 64 bits count, which are one customer's (RFC 6177): the others are for
    /// the customer to choose.
    pub(crate) fn at(address: IpAddr) -> Self {
        Subject(Kind::Address(network(address)))
    }

    /// The address, if that is who it is.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0 {
            Kind::Address(address) => Some(address),
            Kind::User(_) => None,
        }
    }
}

/// What of an address its owner can't choose.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::User(id) => write!(f, "user {id}"),
            Kind::Address(address) => write!(f, "address {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> User {
        User { id: id.into(), known: None, anonymous_token: None, newcomer: false }
    }

    #[test]
    fn an_anonymous_user_is_an_address_with_any_id() {
        let address: Option<IpAddr> = "203.0.113.7".parse().ok();
        assert_eq!(Subject::of(&user("anon-1"), address), Subject::of(&user("anon-2"), address));
        assert_eq!(Subject::of(&user("anon-1"), address).to_string(), "address 203.0.113.7");
        assert_eq!(Subject::of(&user("alice"), address).to_string(), "user alice");
        assert_ne!(Subject::of(&user("anon-1"), None), Subject::of(&user("anon-2"), None));
    }

    #[test]
    fn an_address_is_what_its_owner_cannot_choose() {
        let at = |text: &str| text.parse().map(Subject::at).expect("an address");
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:203.0.113.7"), at("203.0.113.7"));
    }
}
