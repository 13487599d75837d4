//! The rate limiter of one rate, with a state for each client.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{Quota, clock::Clock};

use super::{
    RateLimitKey,
    clock::{GcraLimiter, TokioClock},
    state_store::BoundedStateStore,
};
use crate::limits::Rate;

/// Limits each client to one rate.
#[derive(Debug)]
pub(crate) struct KeyedLimiter {
    rate: Rate,
    clients: GcraLimiter<u64, BoundedStateStore>,
    /// Keyed by a secret, so that no client can choose a key that collides with another's.
    hasher: RandomState,
}

impl KeyedLimiter {
    /// Creates a limiter that counts approximately `clients` separately.
    pub(crate) fn new(rate: Rate, clients: usize) -> Self {
        let states = BoundedStateStore::new(clients);
        KeyedLimiter {
            rate,
            clients: GcraLimiter::new(quota(rate), states, TokioClock),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Counts one request of a client. `Err` is the time after which the next one is allowed.
    pub(crate) fn take(&self, key: &RateLimitKey) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key);
        self.clients.check_key(&key).map_err(|until| until.wait_time_from(TokioClock.now()))
    }

    /// Counts `count` requests of a client that were already allowed, or as many as its rate has left.
    pub(super) fn charge(&self, key: &RateLimitKey, count: NonZeroU32) {
        let key = self.hasher.hash_one(key);
        // A count beyond the burst is never available at once, and governor's multiplication would overflow on it.
        let fits_burst = count.get() <= self.rate.max_burst();
        if fits_burst && matches!(self.clients.check_key_n(&key, count), Ok(Ok(()))) {
            return;
        }
        let mut single = (0..count.get()).map(|_| self.clients.check_key(&key));
        let _ = single.find(Result::is_err);
    }
}

/// Converts a rate to governor's type.
pub(super) fn quota(rate: Rate) -> Quota {
    let one = Quota::per_second(NonZeroU32::MIN);
    let max_burst = NonZeroU32::new(rate.max_burst()).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(rate.interval()).unwrap_or(one).allow_burst(max_burst)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::time::advance;

    use super::*;
    use crate::PerTime;

    fn client(number: u32) -> RateLimitKey {
        RateLimitKey::of_address(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    /// Returns how many of `tries` are allowed.
    fn taken(limit: &KeyedLimiter, number: u32, tries: usize) -> usize {
        (0..tries).filter(|_| limit.take(&client(number)).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_is_exact_and_is_replenished_evenly() {
        let limit = KeyedLimiter::new(5.per_second().burst(10), 100);
        assert_eq!(taken(&limit, 1, 20), 10);
        assert_eq!(limit.take(&client(1)), Err(Duration::from_millis(200)));
        advance(Duration::from_millis(200)).await;
        assert_eq!(taken(&limit, 1, 20), 1);
        advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&limit, 1, 20), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn charged_requests_reduce_the_rate() {
        let limit = KeyedLimiter::new(5.per_hour().burst(40), 100);
        let charge = |count| limit.charge(&client(1), NonZeroU32::new(count).expect("some"));
        charge(32);
        assert_eq!(taken(&limit, 1, 3), 3);
        charge(32);
        assert_eq!((taken(&limit, 1, 20), taken(&limit, 2, 50)), (0, 40));
        limit.charge(&client(3), NonZeroU32::MAX);
        assert_eq!(taken(&limit, 3, 20), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_clients_resets_no_limit() {
        let limit = KeyedLimiter::new(5.per_hour(), 1_000);
        assert_eq!(taken(&limit, 0, 20), 5);
        let flood: usize = (1..20_000).map(|number| taken(&limit, number, 1)).sum();
        assert!(flood < 2_000, "{flood} of the flood were allowed");
        assert_eq!(taken(&limit, 0, 20), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_clients_are_removed() {
        let limit = KeyedLimiter::new(5.per_second(), 1_000);
        (0..20_000).for_each(|number| _ = taken(&limit, number, 1));
        advance(Duration::from_secs(2)).await;
        assert!((0..500).all(|number| taken(&limit, 100_000 + number, 5) == 5));
    }

    #[tokio::test]
    async fn extreme_rates_allow_at_least_one() {
        let tiny = KeyedLimiter::new(Rate::new(u32::MAX, Duration::ZERO).burst(u32::MAX), 1);
        assert_eq!(taken(&tiny, 1, 3), 3);
        let huge = KeyedLimiter::new(Rate::new(1, Duration::MAX).burst(u32::MAX), 1);
        assert!(taken(&huge, 1, 100) > 0);
        assert_eq!(taken(&KeyedLimiter::new(Rate::new(0, Duration::MAX), 0), 1, 3), 1);
    }
}
