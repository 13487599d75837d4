//! The bounds on connections per address: their number at once, and the rate of new ones.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{KeyedLimiter, RateLimitKey, RateLimits, network_prefix};
use crate::{Code, Refusal, collections::HashMap, observe::RefusalLog};

/// Counts and limits the connections of each address.
///
/// Loopback addresses are not limited: a loopback connection is the machine's own, or comes from a local proxy, which
/// forwards the connections of all clients.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    connects: Option<KeyedLimiter>,
    /// The maximum number of WebSocket and SSE connections of an address.
    max_per_address: usize,
    behind_proxies: bool,
    /// The WebSocket and SSE connections of each client address, as the proxies forward it.
    sessions: Mutex<HashMap<IpAddr, usize>>,
    /// The TCP connections of each peer address.
    tcp_connections: Mutex<HashMap<IpAddr, usize>>,
    warned: AtomicBool,
    log: RefusalLog,
}

/// The number of TCP connections that an address may have beyond its sessions: for short requests, and for the response
/// to a session that is one too many.
const EXTRA_TCP_CONNECTIONS: usize = 64;

/// A counted connection of an address, which is released when this is dropped.
#[derive(Debug)]
#[must_use = "the connection is no longer counted when this is dropped"]
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// `None` for a connection that isn't counted.
    address: Option<IpAddr>,
    counts: fn(&ConnectionLimiter) -> &Mutex<HashMap<IpAddr, usize>>,
}

impl ConnectionLimiter {
    /// Creates a limiter with at most `max_per_address` (at least 1) sessions per address. Loopback addresses are
    /// exempt unless the server is behind proxies that forward the client's address: then a forwarded loopback address
    /// is forged.
    pub(crate) fn new(rates: &RateLimits, max_per_address: usize, behind_proxies: bool) -> Arc<Self> {
        let connects = rates.connects.map(|rate| KeyedLimiter::new(rate, rates.clients));
        Arc::new(ConnectionLimiter {
            connects,
            max_per_address: max_per_address.max(1),
            behind_proxies,
            sessions: Mutex::default(),
            tcp_connections: Mutex::default(),
            warned: AtomicBool::new(false),
            log: RefusalLog::default(),
        })
    }

    /// Counts a new WebSocket or SSE connection. One whose address is unknown is always accepted.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED` if the address connects too often, `TOO_MANY` if it has too many connections.
    pub(crate) fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Result<ConnectionPermit, Refusal> {
        let address = self.counted_address(address);
        if let (Some(address), Some(connects)) = (address, &self.connects) {
            connects.take(&RateLimitKey::of_address(address)).map_err(|after| {
                self.log.address(address, "it connects too often (`limit_connects`)");
                Refusal::rate_limited(after)
            })?;
        }
        self.count(address, self.max_per_address, |limiter| &limiter.sessions)
    }

    /// Counts a new TCP connection. Behind proxies none is counted, since proxies bound the connections of their
    /// clients.
    ///
    /// # Errors
    ///
    /// `TOO_MANY` if the address has too many.
    pub(crate) fn acquire_tcp(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionPermit, Refusal> {
        let address =
            Some(network_prefix(peer)).filter(|address| !self.behind_proxies && !is_loopback(*address));
        let max = self.max_per_address.saturating_add(EXTRA_TCP_CONNECTIONS);
        self.count(address, max, |limiter| &limiter.tcp_connections)
    }

    fn count(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        max: usize,
        counts: fn(&ConnectionLimiter) -> &Mutex<HashMap<IpAddr, usize>>,
    ) -> Result<ConnectionPermit, Refusal> {
        if let Some(address) = address {
            let mut counts = counts(self).lock();
            let count = counts.entry(address).or_default();
            if *count >= max {
                drop(counts);
                self.log
                    .address(address, "it has as many connections as it may (`max_connections_per_address`)");
                let message = format!("an address has at most {max} connections");
                return Err(Refusal::new(Code::TooMany, message));
            }
            *count += 1;
        }
        Ok(ConnectionPermit { limiter: Arc::clone(self), address, counts })
    }

    /// Logs, once, that requests come through a proxy although `behind_proxies` is not set.
    pub(crate) fn warn_about_proxy(&self) {
        if !self.warned.load(Ordering::Relaxed) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests come through a proxy, but `behind_proxies` is not set: all users share the bounds and limits \
                 of the proxy's address"
            );
        }
    }

    /// Returns the network prefix that bounds are counted by; `None` if the address is unknown, or is an exempt
    /// loopback address.
    pub(crate) fn counted_address(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.map(network_prefix).filter(|address| self.behind_proxies || !is_loopback(*address))
    }
}

/// Returns whether a prefix is of a loopback address. `::1` has the prefix `::`, which is the unspecified address.
fn is_loopback(prefix: IpAddr) -> bool {
    prefix.is_loopback() || prefix.is_unspecified()
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = (self.counts)(&self.limiter).lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PerTime;

    fn limiter(max: usize) -> Arc<ConnectionLimiter> {
        let rates = RateLimits { connects: Some(3.per_hour()), ..RateLimits::default() };
        ConnectionLimiter::new(&rates, max, false)
    }

    fn acquire(limiter: &Arc<ConnectionLimiter>, address: &str) -> Result<ConnectionPermit, Code> {
        limiter.acquire(address.parse().ok()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_connections_of_an_address_are_bounded() {
        let limiter = limiter(2);
        let [first, _second] = [acquire(&limiter, "2001:db8::1"), acquire(&limiter, "2001:db8::2")];
        assert_eq!(acquire(&limiter, "2001:db8::3").err(), Some(Code::TooMany));
        drop(first);
        assert_eq!(limiter.sessions.lock().values().sum::<usize>(), 1);
    }

    #[test]
    fn the_connects_of_an_address_are_rate_limited() {
        let limiter = limiter(10);
        assert!((0..3).all(|_| acquire(&limiter, "203.0.113.7").is_ok()));
        assert_eq!(acquire(&limiter, "203.0.113.7").err(), Some(Code::RateLimited));
        assert!(acquire(&limiter, "203.0.113.8").is_ok());
        assert!(limiter.sessions.lock().is_empty());
    }

    #[test]
    fn loopback_addresses_are_exempt() {
        let limiter = limiter(1);
        let permits = ["127.0.0.1", "::1", "nowhere"].map(|address| (0..9).map(move |_| address));
        let permits: Vec<_> =
            permits.into_iter().flatten().map(|address| acquire(&limiter, address)).collect();
        assert!(permits.iter().all(Result::is_ok));
    }

    #[test]
    fn tcp_connections_are_counted_separately_and_not_behind_proxies() {
        let limiter = limiter(2);
        let peer = |address: &str| address.parse().expect("an address");
        let _sessions = [acquire(&limiter, "203.0.113.7"), acquire(&limiter, "203.0.113.7")];
        let accepted: Vec<_> = (0..99).map(|_| limiter.acquire_tcp(peer("203.0.113.7"))).collect();
        assert_eq!(accepted.iter().filter(|permit| permit.is_ok()).count(), 2 + EXTRA_TCP_CONNECTIONS);
        drop(accepted);
        assert!(
            limiter.tcp_connections.lock().is_empty() && limiter.acquire_tcp(peer("203.0.113.7")).is_ok()
        );
        assert!(
            (0..99).map(|_| limiter.acquire_tcp(peer("::1"))).collect::<Vec<_>>().iter().all(Result::is_ok)
        );
        let proxied = ConnectionLimiter::new(&RateLimits::default(), 1, true);
        let accepted: Vec<_> = (0..99).map(|_| proxied.acquire_tcp(peer("203.0.113.7"))).collect();
        assert!(accepted.iter().all(Result::is_ok));
    }
}
