//! Who was asked to leave, and when they may come back.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long it holds.
const FOR: Duration = Duration::from_secs(60);

/// Until when whom may not join which room.
#[derive(Default)]
pub(crate) struct Bans(Mutex<HashMap<(String, String), Instant>>);

impl Bans {
    pub(crate) fn add(&self, room_id: &str, user_id: &str) {
        let (mut bans, now) = (self.lock(), Instant::now());
        bans.retain(|_, until| *until > now);
        bans.insert((room_id.to_owned(), user_id.to_owned()), now + FOR);
    }

    /// How long one has yet to wait; `None` if one needn't.
    pub(crate) fn left(&self, room_id: &str, user_id: &str) -> Option<Duration> {
        let until = *self.lock().get(&(room_id.to_owned(), user_id.to_owned()))?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
