//! The rate limits of a server: of requests, frames, HTTP requests, device changes, and of the events of each room.

use std::{num::NonZeroU32, time::Duration};

use super::{FrameLimiter, KeyedLimiter, RateLimitKey, SharedQuota};
use crate::{Rate, Refusal, observe::RefusalLog, wire::RoomIndex};

/// The configured rate limits.
#[derive(Debug, Clone)]
pub(crate) struct RateLimits {
    /// The rate of a client's requests, over all rooms and channels.
    pub(crate) requests: Option<Rate>,
    /// The rate of a connection's frames.
    pub(crate) frames: Option<Rate>,
    /// The rate of a client's plain HTTP requests.
    pub(crate) http: Option<Rate>,
    /// The rate of an address's new connections.
    pub(crate) connects: Option<Rate>,
    /// The approximate number of clients that each limit counts separately.
    pub(crate) clients: usize,
    pub(crate) shared: SharedQuota,
}

impl Default for RateLimits {
    fn default() -> Self {
        let per_second = |count, at_once| Some(Rate::new(count, Duration::from_secs(1)).burst(at_once));
        RateLimits {
            requests: None,
            // Enough for events of a moving pointer, and for a reconnect that rejoins all rooms at once.
            frames: per_second(100, 500),
            // The same as for a connection.
            http: per_second(100, 500),
            connects: per_second(50, 500),
            clients: 1_000_000,
            shared: SharedQuota::default(),
        }
    }
}

/// Enforces the rate limits of a server. See the [module](self).
#[derive(Debug)]
pub(crate) struct Limiter {
    requests: Option<KeyedLimiter>,
    /// The limits of the rooms, by the room's index. The text is the limit's name in the shared quota.
    rooms: Vec<Option<(String, KeyedLimiter)>>,
    frames: Option<Rate>,
    http: Option<KeyedLimiter>,
    devices: KeyedLimiter,
    shared: SharedQuota,
    log: RefusalLog,
}

/// The rate limit of a client's device registrations: 10 per second with a burst of 512, which lets all devices of a
/// large office register from one address at once. Registrations are written to the store one after another, so that a
/// client with many would delay those of all others.
fn device_rate() -> Rate {
    Rate::new(10, Duration::from_secs(1)).burst(512)
}

impl Limiter {
    /// Creates the limiters. `rooms` are the names of the rooms with their rates, in the order of their indices.
    pub(crate) fn new<'a>(rates: &RateLimits, rooms: impl Iterator<Item = (&'a str, Option<Rate>)>) -> Self {
        let limit = |rate| KeyedLimiter::new(rate, rates.clients);
        let room = |(name, rate): (&str, Option<Rate>)| Some((format!("room {name}"), limit(rate?)));
        Limiter {
            requests: rates.requests.map(limit),
            rooms: rooms.map(room).collect(),
            frames: rates.frames,
            http: rates.http.map(limit),
            devices: limit(device_rate()),
            shared: rates.shared.clone(),
            log: RefusalLog::default(),
        }
    }

    /// Counts a plain HTTP request, which is also counted as a [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn http(&self, rate_limit_key: &RateLimitKey) -> Result<(), Refusal> {
        if let Some(limit) = &self.http {
            let taken = limit.take_shared("http", rate_limit_key, &self.shared).await;
            taken.inspect_err(|_| {
                self.log(rate_limit_key, "it asks too often over plain HTTP (`limit_http`)")
            })?;
        }
        self.request(rate_limit_key).await
    }

    /// Counts a device registration, which was already counted as a request.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn device(&self, rate_limit_key: &RateLimitKey) -> Result<(), Refusal> {
        let taken = self.devices.take_shared("devices", rate_limit_key, &self.shared).await;
        taken.inspect_err(|_| self.log(rate_limit_key, "it changes its devices for pushes too often"))
    }

    /// Charges frames of a user's connections to its limit of plain HTTP requests. Refuses nothing: the frames were
    /// already allowed. Addresses are not charged, since many users may share one; each connection has its own frame
    /// limit.
    pub(crate) fn charge_frames(&self, rate_limit_key: &RateLimitKey, count: NonZeroU32) {
        if let Some(limit) = self.http.as_ref().filter(|_| !rate_limit_key.is_address()) {
            limit.charge(rate_limit_key, count);
        }
    }

    /// Creates the frame limiter of a new connection.
    pub(crate) fn frame_limiter(&self) -> FrameLimiter {
        FrameLimiter::new(self.frames)
    }

    /// Counts a request: an event, a join, a page of history, or a frame that is malformed.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn request(&self, rate_limit_key: &RateLimitKey) -> Result<(), Refusal> {
        match &self.requests {
            Some(limit) => {
                let taken = limit.take_shared("requests", rate_limit_key, &self.shared).await;
                taken.inspect_err(|_| self.log(rate_limit_key, "it asks too often (`limit`)"))
            }
            None => Ok(()),
        }
    }

    /// Counts an event in a room.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) async fn event(&self, rate_limit_key: &RateLimitKey, room: RoomIndex) -> Result<(), Refusal> {
        match room.entry_of(&self.rooms) {
            Some(Some((name, limit))) => {
                let taken = limit.take_shared(name, rate_limit_key, &self.shared).await;
                taken.inspect_err(|_| self.log(rate_limit_key, "it sends too often (a room's `limit`)"))
            }
            _ => Ok(()),
        }
    }

    fn log(&self, rate_limit_key: &RateLimitKey, reason: &'static str) {
        if let Some(address) = rate_limit_key.address() {
            self.log.address(address, reason);
        }
    }

    pub(crate) fn shared(&self) -> &SharedQuota {
        &self.shared
    }
}

impl KeyedLimiter {
    /// Counts one request on this node, and then, if it is allowed, in the shared quota under `name`.
    pub(crate) async fn take_shared(
        &self,
        name: &str,
        rate_limit_key: &RateLimitKey,
        shared: &SharedQuota,
    ) -> Result<(), Refusal> {
        let taken = match self.take(rate_limit_key) {
            // Boxed, so that without a shared quota a connection's future is not larger for it.
            Ok(()) if shared.is_set() => Box::pin(shared.take(name, self.rate(), rate_limit_key)).await,
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
        let limiter = Limiter::new(&RateLimits::default(), std::iter::empty());
        let rate_limit_key = RateLimitKey::of_address(IpAddr::from([203, 0, 113, 7]));
        for _ in 0..500 {
            assert!(limiter.http(&rate_limit_key).await.is_ok());
        }
        let refusal = limiter.http(&rate_limit_key).await.expect_err("too many");
        assert_eq!(refusal.code, crate::Code::RateLimited);
        assert!(limiter.request(&rate_limit_key).await.is_ok());
        limiter.charge_frames(&rate_limit_key, NonZeroU32::MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(limiter.http(&rate_limit_key).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn device_registrations_are_limited() {
        let limiter = Limiter::new(&RateLimits::default(), std::iter::empty());
        let rate_limit_key = RateLimitKey::of_address(IpAddr::from([203, 0, 113, 7]));
        for _ in 0..512 {
            assert!(limiter.device(&rate_limit_key).await.is_ok());
        }
        let refusal = limiter.device(&rate_limit_key).await.expect_err("too many");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
    }
}
