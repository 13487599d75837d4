//! The resolver of hosts that users name, which leaves out addresses that only the server may reach.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Resolves names to those of their addresses to which connections are allowed.
#[derive(Debug)]
pub(super) struct FilteringResolver(pub(super) fn(IpAddr) -> bool);

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allows = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotAllowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// The error of a name without an address to which connections are allowed.
#[derive(Debug)]
pub(super) struct NotAllowed;

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no address to which a connection is allowed")
    }
}

impl Error for NotAllowed {}

impl NotAllowed {
    /// Returns whether an error was caused by this one.
    pub(super) fn is_cause_of(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<NotAllowed>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}
