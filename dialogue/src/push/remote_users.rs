//! The users that a room has at other nodes. They receive its events over their connections there, and need no push.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::last_seen::LastSeen;
use crate::{
    Refusal,
    collections::HashSet,
    live::{Registry, RoomRead},
};

/// A cached snapshot of the users that one room has at other nodes.
///
/// A room may have many devices, and its driver is not to be interrupted for each of them. So it is asked for all
/// remote users at once, by one caller at a time. A user who is in one snapshot and missing in the next has left in
/// between.
pub(super) struct RemoteUsers {
    registry: Weak<Registry>,
    room_id: Arc<str>,
    /// Admits one refresh at a time; the others then find its result.
    refreshing: Semaphore,
    snapshot: Mutex<RemoteUsersSnapshot>,
}

#[derive(Default)]
struct RemoteUsersSnapshot {
    users: Users,
    /// The start of the last refresh that succeeded: at that time, `users` were in the room.
    taken: Option<Instant>,
    /// The end of the last refresh, successful or not.
    refreshed: Option<Instant>,
}

type Users = Arc<HashSet<Arc<str>>>;

/// The greatest age of a snapshot while devices are pushed to.
pub(super) const MAX_AGE: Duration = Duration::from_millis(500);
/// The greatest age of a snapshot when an event was accepted or is due: a user who is in it, and leaves, has seen the
/// event.
pub(super) const MAX_AGE_AT_ONCE: Duration = Duration::from_millis(100);
/// The time that a room has to answer.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(2);

impl RemoteUsers {
    pub(super) fn new(registry: Weak<Registry>, room_id: Arc<str>) -> Self {
        RemoteUsers { registry, room_id, refreshing: Semaphore::new(1), snapshot: Mutex::default() }
    }

    /// Returns whether a user is in the last snapshot.
    pub(super) fn contains(&self, user: &str) -> bool {
        self.snapshot.lock().users.contains(user)
    }

    /// Takes a new snapshot unless the last is younger than `max_age`, and records users who have left in `last_seen`.
    /// If the room doesn't answer, the last snapshot stays.
    pub(super) async fn refresh(&self, max_age: Duration, last_seen: &LastSeen) {
        if self.is_younger_than(max_age) {
            return;
        }
        let _refreshing = self.refreshing.acquire().await;
        if self.is_younger_than(max_age) {
            return;
        }
        let now = Instant::now();
        let fetched = timeout(REFRESH_TIMEOUT, self.fetch()).await;
        let mut snapshot = self.snapshot.lock();
        snapshot.refreshed = Some(Instant::now());
        match fetched {
            Ok(Ok(users)) => {
                if let Some(taken) = snapshot.taken.replace(now)
                    && !Arc::ptr_eq(&snapshot.users, &users)
                {
                    let left = snapshot.users.difference(&users);
                    left.for_each(|user| last_seen.record_at(user, &self.room_id, taken));
                }
                snapshot.users = users;
            }
            Ok(Err(refusal)) => {
                let reason = &*refusal.message;
                tracing::debug!(room_id = &*self.room_id, reason, "can't read a room's users at other nodes");
            }
            Err(_) => {
                tracing::debug!(
                    room_id = &*self.room_id,
                    reason = "timeout",
                    "can't read a room's users at other nodes"
                );
            }
        }
    }

    fn is_younger_than(&self, max_age: Duration) -> bool {
        self.snapshot.lock().refreshed.is_some_and(|refreshed| refreshed.elapsed() < max_age)
    }

    /// Reads the users from the room, which is opened for that if it isn't live. A deleted room has none.
    async fn fetch(&self) -> Result<Users, Refusal> {
        let Some(registry) = self.registry.upgrade() else { return Ok(Users::default()) };
        let Some(room) = registry.look_up(&self.room_id).await? else { return Ok(Users::default()) };
        Ok(room.request(RoomRead::RemoteUsers).await.unwrap_or_default())
    }
}
