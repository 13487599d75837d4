//! The limits of a server: of requests, and of the events of each room.

use std::{num::NonZeroU32, time::Duration};

use super::{Allowance, Limit, Shared, Subject};
use crate::{Rate, Refusal, observe::RefusalLog};

/// What an application limits.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Of a client's requests, over all rooms and channels.
    pub(crate) requests: Option<Rate>,
    /// Of a connection's frames.
    pub(crate) frames: Option<Rate>,
    /// Of a client's requests over plain HTTP.
    pub(crate) http: Option<Rate>,
    /// Of an address's connections.
    pub(crate) connects: Option<Rate>,
    /// How many clients are counted at once.
    pub(crate) clients: usize,
    pub(crate) shared: Shared,
}

impl Default for Rates {
    fn default() -> Self {
        let per_second = |count, at_once| Some(Rate::new(count, Duration::from_secs(1)).burst(at_once));
        Rates {
            requests: None,
            // Enough for a pointer that moves, and for a client that comes back to all its rooms at once.
            frames: per_second(100, 500),
            // As much as one more connection may.
            http: per_second(100, 500),
            connects: per_second(50, 500),
            clients: 1_000_000,
            shared: Shared::default(),
        }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Limiter {
    requests: Option<Limit>,
    /// By the index of the room, with its name.
    rooms: Vec<Option<(String, Limit)>>,
    frames: Option<Rate>,
    http: Option<Limit>,
    #[cfg(feature = "push")]
    devices: Limit,
    shared: Shared,
    log: RefusalLog,
}

/// The limit of a client's changes of devices. Those are made one after another, in the store, so that
/// whoever makes many keeps all others waiting. An address has enough for all devices of a large office at once.
#[cfg(feature = "push")]
fn of_devices() -> Rate {
    Rate::new(10, Duration::from_secs(1)).burst(512)
}

impl Limiter {
    /// `rooms` are the names of the rooms and what they limit, in their order.
    pub(crate) fn new<'a>(rates: &Rates, rooms: impl Iterator<Item = (&'a str, Option<Rate>)>) -> Self {
        let limit = |rate| Limit::new(rate, rates.clients);
        let room = |(name, rate): (&str, Option<Rate>)| Some((format!("room {name}"), limit(rate?)));
        Limiter {
            requests: rates.requests.map(limit),
            rooms: rooms.map(room).collect(),
            frames: rates.frames,
            http: rates.http.map(limit),
            #[cfg(feature = "push")]
            devices: limit(of_devices()),
            shared: rates.shared.clone(),
            log: RefusalLog::default(),
        }
    }

    /// Counts a request over plain HTTP, which also counts as any [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn http(&self, subject: &Subject) -> Result<(), Refusal> {
        if let Some(limit) = &self.http {
            let taken = limit.take_shared("http", subject, &self.shared).await;
            taken.inspect_err(|_| self.log(subject, "it asks too often over plain HTTP (`limit_http`)"))?;
        }
        self.request(subject).await
    }

    /// Counts a change of a device, which also counted as a request.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    #[cfg(feature = "push")]
    pub(crate) async fn device(&self, subject: &Subject) -> Result<(), Refusal> {
        let taken = self.devices.take_shared("devices", subject, &self.shared).await;
        taken.inspect_err(|_| self.log(subject, "it changes its devices for pushes too often"))
    }

    /// Counts frames of a user's connections, which then has less left for plain HTTP. The frames were let in, so that
    /// this refuses nothing. An address isn't counted: many people may share it, and each connection has its own limit.
    pub(crate) fn frames(&self, subject: &Subject, count: NonZeroU32) {
        if let Some(limit) = self.http.as_ref().filter(|_| !subject.is_address()) {
            limit.draw(subject, count);
        }
    }

    /// What a connection may do.
    pub(crate) fn allowance(&self) -> Allowance {
        Allowance::new(self.frames)
    }

    /// Counts a request: an event, a join, a page, or a frame that is none of them.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn request(&self, subject: &Subject) -> Result<(), Refusal> {
        match &self.requests {
            Some(limit) => {
                let taken = limit.take_shared("requests", subject, &self.shared).await;
                taken.inspect_err(|_| self.log(subject, "it asks too often (`limit`)"))
            }
            None => Ok(()),
        }
    }

    /// Counts an event in a room.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn event(&self, subject: &Subject, room: usize) -> Result<(), Refusal> {
        match self.rooms.get(room) {
            Some(Some((name, limit))) => {
                let taken = limit.take_shared(name, subject, &self.shared).await;
                taken.inspect_err(|_| self.log(subject, "it sends too often (a room's `limit`)"))
            }
            _ => Ok(()),
        }
    }

    fn log(&self, subject: &Subject, reason: &'static str) {
        if let Some(address) = subject.address() {
            self.log.address(address, reason);
        }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Limit {
    /// Takes one of what `subject` has left here, and then in what all instances share.
    pub(in crate::gate) async fn take_shared(
        &self,
        name: &str,
        subject: &Subject,
        shared: &Shared,
    ) -> Result<(), Refusal> {
        let taken = match self.take(subject) {
            // In a box, so that a connection whose instance counts alone doesn't hold what only asking needs.
            Ok(()) if shared.is_any() => Box::pin(shared.take(name, self.rate(), subject)).await,
            taken => taken,
        };
        taken.map_err(Refusal::rate_limited)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn plain_http_is_limited_by_default() {
        let limiter = Limiter::new(&Rates::default(), std::iter::empty());
        let subject = Subject::at(IpAddr::from([203, 0, 113, 7]));
        for _ in 0..500 {
            assert!(limiter.http(&subject).await.is_ok());
        }
        let refusal = limiter.http(&subject).await.expect_err("too many");
        assert_eq!(refusal.code, crate::Code::RateLimited);
        assert!(limiter.request(&subject).await.is_ok());
        limiter.frames(&subject, NonZeroU32::MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(limiter.http(&subject).await.is_ok());
    }

    #[cfg(feature = "push")]
    #[tokio::test(start_paused = true)]
    async fn devices_change_at_a_pace() {
        let limiter = Limiter::new(&Rates::default(), std::iter::empty());
        let subject = Subject::at(IpAddr::from([203, 0, 113, 7]));
        for _ in 0..512 {
            assert!(limiter.device(&subject).await.is_ok());
        }
        let refusal = limiter.device(&subject).await.expect_err("too many");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
    }
}
