//! Who is in a room at other instances: they see what is said there.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::departures::Departures;
use crate::{Refusal, hub::Registry};

/// Users of one room at other instances, as they were a moment ago.
///
/// There may be many devices, and the room has more to do than to be asked about each: it is asked about all users at once,
/// and who is no longer among them left it.
pub(super) struct Elsewhere {
    registry: Weak<Registry>,
    room_id: Arc<str>,
    /// One asks for all.
    turn: Semaphore,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    users: Users,
    /// When they were there, for sure.
    at: Option<Instant>,
    /// When the room was last asked, whatever it said.
    asked: Option<Instant>,
}

type Users = Arc<HashSet<Arc<str>>>;

/// How old an answer may be while devices are told.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// The same when an event was accepted: who is there then, and leaves, has seen it.
pub(super) const AT_ONCE: Duration = Duration::from_millis(100);
/// How long a room may take to answer.
const WITHIN: Duration = Duration::from_secs(2);

impl Elsewhere {
    pub(super) fn new(registry: Weak<Registry>, room_id: Arc<str>) -> Self {
        Elsewhere { registry, room_id, turn: Semaphore::new(1), known: Mutex::default() }
    }

    pub(super) fn has(&self, user: &str) -> bool {
        self.known.lock().users.contains(user)
    }

    /// Asks the room, unless somebody did so a moment ago; who went is noted.
    pub(super) async fn look(&self, moment: Duration, departures: &Departures) {
        if self.is_known_since(moment) {
            return;
        }
        let _turn = self.turn.acquire().await;
        if self.is_known_since(moment) {
            return;
        }
        let now = Instant::now();
        let answer = timeout(WITHIN, self.ask()).await;
        let mut known = self.known.lock();
        known.asked = Some(Instant::now());
        match answer {
            Ok(Ok(users)) => {
                if let Some(at) = known.at.replace(now)
                    && !Arc::ptr_eq(&known.users, &users)
                {
                    let gone = known.users.difference(&users);
                    gone.for_each(|user| departures.note_at(user, &self.room_id, at));
                }
                known.users = users;
            }
            Ok(Err(refusal)) => {
                let reason = &*refusal.message;
                tracing::debug!(room_id = &*self.room_id, reason, "it can't be told who is in it elsewhere");
            }
            Err(_) => tracing::debug!(room_id = &*self.room_id, "a room doesn't say who is in it elsewhere"),
        }
    }

    fn is_known_since(&self, moment: Duration) -> bool {
        self.known.lock().asked.is_some_and(|asked| asked.elapsed() < moment)
    }

    /// A room that isn't in memory is opened for that, and one that is no more is empty.
    async fn ask(&self) -> Result<Users, Refusal> {
        let Some(registry) = self.registry.upgrade() else { return Ok(Users::default()) };
        let Some(room) = registry.look_up(&self.room_id).await? else { return Ok(Users::default()) };
        Ok(room.run(|state| state.remote_users()).await.unwrap_or_default())
    }
}
