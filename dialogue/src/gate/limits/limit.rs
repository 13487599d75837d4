//! One rate, and what every client has left of it.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    time::Duration,
};

use governor::{Quota, clock::Clock};

use super::{
    Subject,
    clock::{Counter, Ticks},
    ledger::Ledger,
};
use crate::Rate;

/// See the [module](self).
#[derive(Debug)]
pub(in crate::gate) struct Limit {
    rate: Rate,
    clients: Counter<u64, Ledger>,
    /// With a secret, so that nobody can choose whose key it shares.
    hasher: RandomState,
}

impl Limit {
    /// For about `clients` at once.
    pub(in crate::gate) fn new(rate: Rate, clients: usize) -> Self {
        let ledger = Ledger::new(clients);
        Limit { rate, clients: Counter::new(quota(rate), ledger, Ticks), hasher: RandomState::new() }
    }

    pub(in crate::gate) fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one of what `subject` has left; `Err` says after how long there is one.
    pub(in crate::gate) fn take(&self, subject: &Subject) -> Result<(), Duration> {
        let key = self.hasher.hash_one(subject);
        self.clients.check_key(&key).map_err(|until| until.wait_time_from(Ticks.now()))
    }

    /// Takes `count` of what `subject` has left, or all of it if that is less.
    pub(super) fn draw(&self, subject: &Subject, count: NonZeroU32) {
        let key = self.hasher.hash_one(subject);
        // Beyond the burst there is nothing to take at once, and governor's own product would overflow.
        let at_once = count.get() <= self.rate.max_burst();
        if at_once && matches!(self.clients.check_key_n(&key, count), Ok(Ok(()))) {
            return;
        }
        let mut left = (0..count.get()).map(|_| self.clients.check_key(&key));
        let _ = left.find(Result::is_err);
    }
}

/// The rate as governor has it.
pub(super) fn quota(rate: Rate) -> Quota {
    let one = Quota::per_second(NonZeroU32::MIN);
    let at_once = NonZeroU32::new(rate.max_burst()).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(rate.interval()).unwrap_or(one).allow_burst(at_once)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::time::advance;

    use super::*;
    use crate::PerTime;

    fn client(number: u32) -> Subject {
        Subject::at(IpAddr::from(Ipv4Addr::from_bits(number)))
    }

    /// How many of `tries` are let through.
    fn taken(limit: &Limit, number: u32, tries: usize) -> usize {
        (0..tries).filter(|_| limit.take(&client(number)).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_to_the_last_one_and_comes_back_evenly() {
        let limit = Limit::new(5.per_second().burst(10), 100);
        assert_eq!(taken(&limit, 1, 20), 10);
        assert_eq!(limit.take(&client(1)), Err(Duration::from_millis(200)));
        advance(Duration::from_millis(200)).await;
        assert_eq!(taken(&limit, 1, 20), 1);
        advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&limit, 1, 20), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_drawn_is_no_longer_left() {
        let limit = Limit::new(5.per_hour().burst(40), 100);
        let draw = |count| limit.draw(&client(1), NonZeroU32::new(count).expect("some"));
        draw(32);
        assert_eq!(taken(&limit, 1, 3), 3);
        draw(32);
        assert_eq!((taken(&limit, 1, 20), taken(&limit, 2, 50)), (0, 40));
        limit.draw(&client(3), NonZeroU32::MAX);
        assert_eq!(taken(&limit, 3, 20), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_clients_resets_nobody() {
        let limit = Limit::new(5.per_hour(), 1_000);
        assert_eq!(taken(&limit, 0, 20), 5);
        let flood: usize = (1..20_000).map(|number| taken(&limit, number, 1)).sum();
        assert!(flood < 2_000, "{flood} of the flood were let through");
        assert_eq!(taken(&limit, 0, 20), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_makes_room() {
        let limit = Limit::new(5.per_second(), 1_000);
        (0..20_000).for_each(|number| _ = taken(&limit, number, 1));
        advance(Duration::from_secs(2)).await;
        assert!((0..500).all(|number| taken(&limit, 100_000 + number, 5) == 5));
    }

    #[tokio::test]
    async fn the_most_extreme_rates_are_some() {
        let tiny = Limit::new(Rate::new(u32::MAX, Duration::ZERO).burst(u32::MAX), 1);
        assert_eq!(taken(&tiny, 1, 3), 3);
        let huge = Limit::new(Rate::new(1, Duration::MAX).burst(u32::MAX), 1);
        assert!(taken(&huge, 1, 100) > 0);
        assert_eq!(taken(&Limit::new(Rate::new(0, Duration::MAX), 0), 1, 3), 1);
    }
}
