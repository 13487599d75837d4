//! The frame rate limit of one connection, and the detection of clients that ignore rate limits.

use std::{collections::VecDeque, time::Duration};

use governor::{
    clock::Clock,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

use super::{
    clock::{GcraLimiter, TokioClock},
    keyed_limiter::quota,
};
use crate::{Rate, Refusal};

/// Counts the frames of one connection, and the `RATE_LIMITED` refusals that were sent to it.
#[derive(Debug)]
pub(crate) struct FrameLimiter {
    frames: Option<GcraLimiter<NotKeyed, InMemoryState>>,
    /// The times of the last refusals, at most [`MAX_REFUSALS`]; allocated with the first one.
    refusals: VecDeque<Instant>,
}

/// The number of `RATE_LIMITED` refusals within [`REFUSAL_WINDOW`] beyond which a connection is closed.
const MAX_REFUSALS: usize = 100;
const REFUSAL_WINDOW: Duration = Duration::from_secs(10);

impl FrameLimiter {
    pub(super) fn new(frames: Option<Rate>) -> Self {
        let limiter = |rate| GcraLimiter::new(quota(rate), InMemoryState::default(), TokioClock);
        FrameLimiter { frames: frames.map(limiter), refusals: VecDeque::new() }
    }

    /// Counts a frame, of any type.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) fn check_frame(&self) -> Result<(), Refusal> {
        let Some(frames) = &self.frames else { return Ok(()) };
        frames.check().map_err(|until| Refusal::rate_limited(until.wait_time_from(TokioClock.now())))
    }

    /// Records a `RATE_LIMITED` refusal that is sent to the client. Returns whether the client has had too many, and
    /// its connection is to be closed.
    pub(crate) fn record_refusal(&mut self) -> bool {
        let now = Instant::now();
        self.refusals.push_back(now);
        let dropped = if self.refusals.len() > MAX_REFUSALS { self.refusals.pop_front() } else { None };
        dropped.is_some_and(|oldest| now.duration_since(oldest) <= REFUSAL_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::PerTime;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ignores_refusals_has_too_many() {
        let mut limiter = FrameLimiter::new(None);
        assert!((0..100).all(|_| !limiter.record_refusal()));
        assert!(limiter.record_refusal());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_slows_down_never_has_too_many() {
        let mut limiter = FrameLimiter::new(None);
        for _ in 0..1_000 {
            advance(Duration::from_millis(101)).await;
            assert!(!limiter.record_refusal());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted() {
        let limiter = FrameLimiter::new(Some(5.per_second()));
        assert!((0..5).all(|_| limiter.check_frame().is_ok()));
        let refusal = limiter.check_frame().expect_err("too many");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(200)));
    }
}
