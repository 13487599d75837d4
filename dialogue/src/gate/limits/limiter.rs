//! The limits of a server: of requests, and of the events of each room.

use super::{Allowance, Limit, Shared, Subject};
use crate::{Rate, Refusal};

/// What an application limits.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    /// Of a client's requests, over all rooms and channels.
    pub(crate) requests: Option<Rate>,
    /// Of a connection's frames.
    pub(crate) frames: Option<Rate>,
    /// Of an address's connections.
    pub(crate) connects: Option<Rate>,
    /// How many clients are counted at once.
    pub(crate) clients: usize,
    pub(crate) shared: Shared,
}

impl Default for Rates {
    fn default() -> Self {
        let per_second =
            |count, at_once| Some(Rate::new(count, std::time::Duration::from_secs(1)).burst(at_once));
        Rates {
            requests: None,
            // Enough for a pointer that moves, and for a client that comes back to all its rooms at once.
            frames: per_second(100, 500),
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
    shared: Shared,
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
            shared: rates.shared.clone(),
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
            Some(limit) => limit.take_shared("requests", subject, &self.shared).await,
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
            Some(Some((name, limit))) => limit.take_shared(name, subject, &self.shared).await,
            _ => Ok(()),
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
