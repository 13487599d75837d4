//! Who comes in from where, and how often.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use super::{Limit, Rates, Subject, subject::network};
use crate::{Code, Refusal};

/// Counts the connections of each address.
///
/// What comes over the loopback is not: it is the machine's own, or a proxy on it, which speaks for everybody.
#[derive(Debug)]
pub(crate) struct Doors {
    connects: Option<Limit>,
    /// Connections of an address.
    most: usize,
    inside: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection's place at its address, which is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the place is free again when this is dropped"]
pub(crate) struct Visit {
    doors: Arc<Doors>,
    address: Option<IpAddr>,
}

impl Doors {
    /// With at most `most` connections of an address.
    pub(crate) fn new(rates: &Rates, most: usize) -> Arc<Self> {
        let connects = rates.connects.map(|rate| Limit::new(rate, rates.clients));
        Arc::new(Doors { connects, most: most.max(1), inside: Mutex::default() })
    }

    /// Lets a connection in; of an address that isn't known, always.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED` where too many come at once, `TOO_MANY` where too many are in.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Visit, Refusal> {
        let address = address.map(network).filter(|address| !is_own(*address));
        if let Some(address) = address {
            if let Some(connects) = &self.connects {
                connects.take(&Subject::at(address)).map_err(Refusal::rate_limited)?;
            }
            let mut inside = self.inside.lock();
            let count = inside.entry(address).or_default();
            if *count >= self.most {
                let message = format!("an address has at most {} connections", self.most);
                return Err(Refusal::new(Code::TooMany, message));
            }
            *count += 1;
        }
        Ok(Visit { doors: Arc::clone(self), address })
    }
}

/// `::1` as [`network`] has it is `::`.
fn is_own(network: IpAddr) -> bool {
    network.is_loopback() || network.is_unspecified()
}

impl Drop for Visit {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut inside = self.doors.inside.lock();
        if let Some(count) = inside.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&address);
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
        Doors::new(&rates, most)
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
}
