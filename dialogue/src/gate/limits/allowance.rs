//! What one connection may do before it is no longer heard.

use std::{collections::VecDeque, time::Duration};

use governor::{
    clock::Clock,
    state::{InMemoryState, NotKeyed},
};
use tokio::time::Instant;

use super::{
    clock::{Counter, Ticks},
    limit::quota,
};
use crate::{Rate, Refusal};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Allowance {
    frames: Option<Counter<NotKeyed, InMemoryState>>,
    /// When it was last told to go slower; only of those who were.
    told: VecDeque<Instant>,
}

/// Who is told so more often in that time is hammering.
const PATIENCE: usize = 100;
const WITHIN: Duration = Duration::from_secs(10);

impl Allowance {
    pub(super) fn new(frames: Option<Rate>) -> Self {
        let limiter = |rate| Counter::new(quota(rate), InMemoryState::default(), Ticks);
        Allowance { frames: frames.map(limiter), told: VecDeque::new() }
    }

    /// Counts a frame, whatever is in it.
    ///
    /// # Errors
    ///
    /// `RATE_LIMITED`.
    pub(crate) fn frame(&self) -> Result<(), Refusal> {
        let Some(frames) = &self.frames else { return Ok(()) };
        frames.check().map_err(|until| Refusal::rate_limited(until.wait_time_from(Ticks.now())))
    }

    /// It is told to go slower; yields whether it was told too often.
    pub(crate) fn tell(&mut self) -> bool {
        let now = Instant::now();
        self.told.push_back(now);
        let over = if self.told.len() > PATIENCE { self.told.pop_front() } else { None };
        over.is_some_and(|first| now.duration_since(first) <= WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::PerTime;

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_hammering() {
        let mut allowance = Allowance::new(None);
        assert!((0..100).all(|_| !allowance.tell()));
        assert!(allowance.tell());
    }

    #[tokio::test(start_paused = true)]
    async fn who_slows_down_is_not() {
        let mut allowance = Allowance::new(None);
        for _ in 0..1_000 {
            advance(Duration::from_millis(101)).await;
            assert!(!allowance.tell());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted() {
        let allowance = Allowance::new(Some(5.per_second()));
        assert!((0..5).all(|_| allowance.frame().is_ok()));
        let refusal = allowance.frame().expect_err("too many");
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(200)));
    }
}
