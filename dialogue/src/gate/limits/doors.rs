//! Who comes in from where, and how often.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Limit, Rates, Subject, subject::network};
use crate::{Code, Refusal, observe::RefusalLog};

/// Counts the connections of each address.
///
/// What comes over the loopback is not: it is the machine's own, or a proxy on it, which speaks for everybody.
#[derive(Debug)]
pub(crate) struct Doors {
    connects: Option<Limit>,
    /// Connections of an address.
    most: usize,
    proxied: bool,
    /// Sockets and streams, by whom proxies speak for.
    inside: Mutex<HashMap<IpAddr, usize>>,
    /// TCP connections, by their other end.
    accepted: Mutex<HashMap<IpAddr, usize>>,
    warned: AtomicBool,
    log: RefusalLog,
}

/// TCP connections of an address beyond its sockets and streams, for requests that are answered at once: a socket too
/// many can be told so.
const MORE_ACCEPTED: usize = 64;

/// A connection's place at its address, which is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub(crate) struct Visit {
    doors: Arc<Doors>,
    address: Option<IpAddr>,
    counted: fn(&Doors) -> &Mutex<HashMap<IpAddr, usize>>,
}

impl Doors {
    /// With at most `most` connections of an address. The machine's own isn't counted, unless proxies are known to say
    /// whom they speak for: then whoever seems to be the machine itself only hides.
    pub(crate) fn new(rates: &Rates, most: usize, proxied: bool) -> Arc<Self> {
        let connects = rates.connects.map(|rate| Limit::new(rate, rates.clients));
        Arc::new(Doors {
            connects,
            most: most.max(1),
            proxied,
            inside: Mutex::default(),
            accepted: Mutex::default(),
            warned: AtomicBool::new(false),
            log: RefusalLog::default(),
        })
    }

    /// Lets a socket or a stream in; of an address that isn't known, always.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED` where too many come at once, `TOO_MANY` where too many are in.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Visit, Refusal> {
        let address = self.counted(address);
        if let (Some(address), Some(connects)) = (address, &self.connects) {
            connects.take(&Subject::at(address)).map_err(|after| {
                self.log.address(address, "it connects too often (`limit_connects`)");
                Refusal::rate_limited(after)
            })?;
        }
        self.count(address, self.most, |doors| &doors.inside)
    }

    /// Lets a TCP connection in. Those of proxies aren't counted: the proxies bound their clients.
    ///
    /// # Errors
    ///
    /// `TOO_MANY` where the address has too many.
    pub(crate) fn accept(self: &Arc<Self>, peer: IpAddr) -> Result<Visit, Refusal> {
        let address = Some(network(peer)).filter(|address| !self.proxied && !is_own(*address));
        self.count(address, self.most.saturating_add(MORE_ACCEPTED), |doors| &doors.accepted)
    }

    fn count(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        most: usize,
        counted: fn(&Doors) -> &Mutex<HashMap<IpAddr, usize>>,
    ) -> Result<Visit, Refusal> {
        if let Some(address) = address {
            let mut places = counted(self).lock();
            let count = places.entry(address).or_default();
            if *count >= most {
                drop(places);
                self.log
                    .address(address, "it has as many connections as it may (`max_connections_per_address`)");
                let message = format!("an address has at most {most} connections");
                return Err(Refusal::new(Code::TooMany, message));
            }
            *count += 1;
        }
        Ok(Visit { doors: Arc::clone(self), address, counted })
    }

    /// Logs, once, that requests come through a proxy that the settings don't know of.
    pub(crate) fn warn_of_proxy(&self) {
        if !self.warned.load(Ordering::Relaxed) && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "requests come through a proxy, but `behind_proxies` is not set: all users share the bounds and limits \
                 of the proxy's address"
            );
        }
    }
}

impl Doors {
    /// The address that bounds count, without the part that its owner chooses; `None` where none is known, and for the
    /// machine's own.
    pub(crate) fn counted(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        address.map(network).filter(|address| self.proxied || !is_own(*address))
    }
}

/// `::1` as [`network`] has it is `::`.
fn is_own(network: IpAddr) -> bool {
    network.is_loopback() || network.is_unspecified()
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut places = (self.counted)(&self.doors).lock();
        if let Some(count) = places.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                places.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PerTime;

    fn doors(most: usize) -> Arc<Doors> {
        let rates = Rates { connects: Some(3.per_hour()), ..Rates::default() };
        Doors::new(&rates, most, false)
    }

    fn enter(doors: &Arc<Doors>, address: &str) -> Result<Visit, Code> {
        doors.enter(address.parse().ok()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn an_address_has_so_many_at_once() {
        let doors = doors(2);
        let [first, _second] = [enter(&doors, "2001:db8::1"), enter(&doors, "2001:db8::2")];
        assert_eq!(enter(&doors, "2001:db8::3").err(), Some(Code::TooMany));
        drop(first);
        assert_eq!(doors.inside.lock().values().sum::<usize>(), 1);
    }

    #[test]
    fn an_address_comes_so_often() {
        let doors = doors(10);
        assert!((0..3).all(|_| enter(&doors, "203.0.113.7").is_ok()));
        assert_eq!(enter(&doors, "203.0.113.7").err(), Some(Code::RateLimited));
        assert!(enter(&doors, "203.0.113.8").is_ok());
        assert!(doors.inside.lock().is_empty());
    }

    #[test]
    fn the_machine_itself_is_not_counted() {
        let doors = doors(1);
        let visits = ["127.0.0.1", "::1", "nowhere"].map(|address| (0..9).map(move |_| address));
        let visits: Vec<_> = visits.into_iter().flatten().map(|address| enter(&doors, address)).collect();
        assert!(visits.iter().all(Result::is_ok));
    }

    #[test]
    fn tcp_connections_are_counted_by_themselves_and_never_a_proxys() {
        let doors = doors(2);
        let peer = |address: &str| address.parse().expect("an address");
        let _inside = [enter(&doors, "203.0.113.7"), enter(&doors, "203.0.113.7")];
        let accepted: Vec<_> = (0..99).map(|_| doors.accept(peer("203.0.113.7"))).collect();
        assert_eq!(accepted.iter().filter(|place| place.is_ok()).count(), 2 + MORE_ACCEPTED);
        drop(accepted);
        assert!(doors.accepted.lock().is_empty() && doors.accept(peer("203.0.113.7")).is_ok());
        assert!((0..99).map(|_| doors.accept(peer("::1"))).collect::<Vec<_>>().iter().all(Result::is_ok));
        let proxied = Doors::new(&Rates::default(), 1, true);
        let accepted: Vec<_> = (0..99).map(|_| proxied.accept(peer("203.0.113.7"))).collect();
        assert!(accepted.iter().all(Result::is_ok));
    }
}
