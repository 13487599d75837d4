//! Who is in which room here, as the others are told.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::Mutex as AsyncMutex, time::sleep};

use super::{Peers, within};
use crate::{
    backplane::{MemberChange, MembersUpdate},
    store::StoreError,
};

/// Users of rooms: how many connections they have in them, and how many the others were told of.
#[derive(Default)]
pub(super) struct Rolls {
    rooms: Mutex<HashMap<Arc<str>, RoomRoll>>,
}

#[derive(Default)]
struct RoomRoll {
    users: HashMap<Arc<str>, Count>,
    /// Somebody is about to tell what changed.
    under_way: bool,
    /// Held while it is told, so that it is told in order.
    telling: Arc<AsyncMutex<()>>,
}

#[derive(Default, Clone, Copy)]
struct Count {
    now: u32,
    /// Not known after a failure.
    told: Option<u32>,
}

/// A place in a room that holds a bounded number, until its connection is counted, or for good if it never is.
pub(crate) struct Reserved {
    peers: Arc<Peers>,
    room_id: Arc<str>,
    user: Arc<str>,
}

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(20);
/// Looks at whether all is told, of whoever goes: for a second together.
const LOOKS: usize = 50;
/// Users of one call.
const MOST: usize = 500;
/// Between two tries, doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

impl Peers {
    /// A connection of a user came into a room.
    pub(in crate::hub) fn came(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>) {
        self.count(room_id, user, |now| now + 1);
    }

    /// A connection of a user went out of a room.
    pub(in crate::hub) fn went(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>) {
        self.count(room_id, user, |now| now.saturating_sub(1));
    }

    fn count(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>, change: impl FnOnce(u32) -> u32) {
        let mut rooms = self.rolls.rooms.lock();
        let roll = rooms.entry(Arc::clone(room_id)).or_default();
        let count = roll.users.entry(Arc::clone(user)).or_insert(Count { now: 0, told: Some(0) });
        count.now = change(count.now);
        if !std::mem::replace(&mut roll.under_way, true) {
            // It ends when nothing is left to tell, or with the runtime.
            self.runtime.spawn(tell(Arc::clone(self), Arc::clone(room_id), GATHER));
        }
    }

    /// Waits until the others know who is in, for a moment: who goes wants to leave nobody behind.
    pub(crate) async fn settle(&self) {
        for _ in 0..LOOKS {
            if self.rolls.rooms.lock().values().all(|roll| !roll.under_way) {
                return;
            }
            sleep(GATHER).await;
        }
    }

    /// The others have forgotten who is in the rooms of this one.
    pub(super) fn call_all_rolls(self: &Arc<Self>) {
        let mut rooms = self.rolls.rooms.lock();
        for (room_id, roll) in rooms.iter_mut() {
            roll.users.values_mut().for_each(|count| count.told = None);
            if !std::mem::replace(&mut roll.under_way, true) {
                // Spread, since all come at once.
                let pause = GATHER + LONGEST.mul_f64(fastrand::f64() / 4.0);
                self.runtime.spawn(tell(Arc::clone(self), Arc::clone(room_id), pause));
            }
        }
    }

    /// Takes a place for another connection of a user in a room that holds `most`, over all instances; `None` if it is
    /// full.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        room_id: &Arc<str>,
        user: &Arc<str>,
        most: u32,
    ) -> Result<Option<Reserved>, StoreError> {
        let telling = self.rolls.telling(room_id);
        let _telling = telling.lock().await;
        // Under the lock, so that nobody tells of it before it is allowed.
        self.rolls.add(room_id, user);
        // From here on, whatever happens, what is counted is taken back.
        let reserved =
            Reserved { peers: Arc::clone(self), room_id: Arc::clone(room_id), user: Arc::clone(user) };
        Ok(self.tell_changes(room_id, Some(most)).await?.then_some(reserved))
    }

    /// Tells what changed in a room; yields whether there is space for all who came.
    async fn tell_changes(&self, room_id: &Arc<str>, most: Option<u32>) -> Result<bool, StoreError> {
        loop {
            let (changes, anybody) = self.rolls.changes(room_id);
            if changes.is_empty() {
                return Ok(true);
            }
            let more = changes.len() == MOST;
            let mut roll = MembersUpdate::new(Arc::clone(room_id), changes.clone(), anybody);
            roll.max_connections = most;
            // Whoever waits for this may be dropped, and it be done all the same.
            let before = self.rolls.doubt(room_id, &changes);
            match within(self.backplane.update_members(self.id, roll)).await? {
                true => self.rolls.told(room_id, &changes),
                false => {
                    self.rolls.believe(room_id, &changes, &before);
                    return Ok(false);
                }
            }
            if !more {
                return Ok(true);
            }
        }
    }
}

/// Tells what changes in a room until nothing does any more.
async fn tell(peers: Arc<Peers>, room_id: Arc<str>, mut pause: Duration) {
    let mut failed = PAUSE;
    loop {
        sleep(pause).await;
        let telling = peers.rolls.telling(&room_id);
        let guard = telling.lock().await;
        let told = peers.tell_changes(&room_id, None).await;
        drop(guard);
        drop(telling);
        match told {
            Ok(_) => (pause, failed) = (GATHER, PAUSE),
            Err(error) => {
                tracing::debug!(room_id = &*room_id, %error, "it can't be said who is in a room");
                pause = failed.mul_f64(0.5 + fastrand::f64() / 2.0);
                failed = (failed * 2).min(LONGEST);
            }
        }
        if peers.rolls.is_done(&room_id) {
            return;
        }
    }
}

impl Rolls {
    fn telling(&self, room_id: &Arc<str>) -> Arc<AsyncMutex<()>> {
        Arc::clone(&self.rooms.lock().entry(Arc::clone(room_id)).or_default().telling)
    }

    fn add(&self, room_id: &Arc<str>, user: &Arc<str>) {
        let mut rooms = self.rooms.lock();
        let roll = rooms.entry(Arc::clone(room_id)).or_default();
        roll.users.entry(Arc::clone(user)).or_insert(Count { now: 0, told: Some(0) }).now += 1;
    }

    /// Some of what changed, and whether anybody is in.
    fn changes(&self, room_id: &str) -> (Vec<MemberChange>, bool) {
        let rooms = self.rooms.lock();
        let Some(roll) = rooms.get(room_id) else { return (Vec::new(), false) };
        let changed = roll.users.iter().filter(|(_, count)| count.told != Some(count.now));
        let changes = changed.take(MOST).map(|(user, count)| MemberChange::new(Arc::clone(user), count.now));
        (changes.collect(), roll.users.values().any(|count| count.now > 0))
    }

    /// The others were told.
    fn told(&self, room_id: &str, changes: &[MemberChange]) {
        self.note(room_id, changes, changes.iter().map(|change| Some(change.connections)));
    }

    /// The others may be told; yields what they were told before.
    fn doubt(&self, room_id: &str, changes: &[MemberChange]) -> Vec<Option<u32>> {
        self.note(room_id, changes, changes.iter().map(|_| None))
    }

    /// The others were not told, for sure.
    fn believe(&self, room_id: &str, changes: &[MemberChange], before: &[Option<u32>]) {
        self.note(room_id, changes, before.iter().copied());
    }

    /// Notes what the others were told of each; yields what was noted before.
    fn note(
        &self,
        room_id: &str,
        changes: &[MemberChange],
        told: impl Iterator<Item = Option<u32>>,
    ) -> Vec<Option<u32>> {
        let mut rooms = self.rooms.lock();
        let Some(roll) = rooms.get_mut(room_id) else { return Vec::new() };
        let noted = changes.iter().zip(told).map(|(change, told)| {
            let count = roll.users.get_mut(&change.user_id)?;
            std::mem::replace(&mut count.told, told)
        });
        noted.collect()
    }

    /// Whether nothing is left to tell of a room; then whoever changes something tells it.
    fn is_done(&self, room_id: &Arc<str>) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(roll) = rooms.get_mut(room_id) else { return true };
        roll.users.retain(|_, count| (count.now, count.told) != (0, Some(0)));
        roll.under_way = roll.users.values().any(|count| count.told != Some(count.now));
        let done = !roll.under_way;
        if roll.users.is_empty() && Arc::strong_count(&roll.telling) == 1 {
            rooms.remove(room_id);
        }
        done
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.peers.went(&self.room_id, &self.user);
    }
}
