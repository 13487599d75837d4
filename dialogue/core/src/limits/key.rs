//! The key that rate limits count by.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use crate::identity::is_anonymous;

/// The key that rate limits count by: a user, or the address of an anonymous user. Its `Display` text distinguishes the
/// two and is the same on all nodes: `user alice`, `address 203.0.113.7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RateLimitKey(KeyKind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum KeyKind {
    User(Arc<str>),
    Address(IpAddr),
}

impl RateLimitKey {
    /// Returns the key of a user. An anonymous user, who can get a new id at any time, is counted by address; if the
    /// address is unknown, by id.
    pub fn of_user(user_id: &Arc<str>, address: Option<IpAddr>) -> Self {
        match address {
            Some(address) if is_anonymous(user_id) => RateLimitKey::of_address(address),
            _ => RateLimitKey(KeyKind::User(Arc::clone(user_id))),
        }
    }

    /// Returns whether the key is an address, which all anonymous users there share.
    pub fn is_address(&self) -> bool {
        matches!(self.0, KeyKind::Address(_))
    }

    /// Returns the key of an address. Of an IPv6 address only the first 64 bits count: the rest is chosen by the
    /// customer that the prefix is assigned to (RFC 6177).
    pub fn of_address(address: IpAddr) -> Self {
        RateLimitKey(KeyKind::Address(network_prefix(address)))
    }

    /// Returns the address, unless the key is a user.
    pub fn address(&self) -> Option<IpAddr> {
        match self.0 {
            KeyKind::Address(address) => Some(address),
            KeyKind::User(_) => None,
        }
    }
}

/// Returns the part of an address that its owner can't choose: an IPv4 address, or the first 64 bits of an IPv6
/// address.
pub fn network_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

impl fmt::Display for RateLimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            KeyKind::User(id) => write!(f, "user {id}"),
            KeyKind::Address(address) => write!(f, "address {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_users_are_counted_by_address() {
        let address: Option<IpAddr> = "203.0.113.7".parse().ok();
        assert_eq!(
            RateLimitKey::of_user(&"anon-1".into(), address),
            RateLimitKey::of_user(&"anon-2".into(), address)
        );
        assert_eq!(RateLimitKey::of_user(&"anon-1".into(), address).to_string(), "address 203.0.113.7");
        assert_eq!(RateLimitKey::of_user(&"alice".into(), address).to_string(), "user alice");
        assert_ne!(
            RateLimitKey::of_user(&"anon-1".into(), None),
            RateLimitKey::of_user(&"anon-2".into(), None)
        );
    }

    #[test]
    fn an_ipv6_address_is_counted_by_its_prefix() {
        let at = |text: &str| text.parse().map(RateLimitKey::of_address).expect("an address");
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:203.0.113.7"), at("203.0.113.7"));
    }
}
