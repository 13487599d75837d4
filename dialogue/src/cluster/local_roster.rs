//! This node's members of each room, and which of their numbers the other nodes know.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::backplane::MemberChange;
use crate::collections::HashMap;

/// The users of each room, with their number of connections, and the number last published.
#[derive(Default)]
pub(super) struct LocalRosters {
    pub(super) rooms: Mutex<HashMap<Arc<str>, LocalRoster>>,
}

/// The changes in a room that aren't published.
#[derive(Default)]
pub(super) struct RosterChanges {
    pub(super) changes: Vec<MemberChange>,
    /// True if the room has any member at this node.
    pub(super) has_members: bool,
}

#[derive(Default)]
pub(super) struct LocalRoster {
    pub(super) users: HashMap<Arc<str>, UserCount>,
    /// Set while a task publishes the changes.
    pub(super) publishing: bool,
    /// Held while changes are published, so that they are published in order.
    pub(super) publish_lock: Arc<AsyncMutex<()>>,
}

#[derive(Default, Clone, Copy)]
pub(super) struct UserCount {
    pub(super) current: u32,
    /// `None` after a failure, when it is unknown which number the backplane has.
    pub(super) published: Option<u32>,
}

/// User changes in one call.
pub(super) const MAX_CHANGES_PER_CALL: usize = 500;

impl LocalRosters {
    pub(super) fn publish_lock(&self, room_id: &Arc<str>) -> Arc<AsyncMutex<()>> {
        Arc::clone(&self.rooms.lock().entry(Arc::clone(room_id)).or_default().publish_lock)
    }

    pub(super) fn add(&self, room_id: &Arc<str>, user: &Arc<str>) {
        let mut rooms = self.rooms.lock();
        let roster = rooms.entry(Arc::clone(room_id)).or_default();
        roster
            .users
            .entry(Arc::clone(user))
            .or_insert(UserCount { current: 0, published: Some(0) })
            .current += 1;
    }

    /// Returns the changes in a room that aren't published, up to [`MAX_CHANGES_PER_CALL`].
    pub(super) fn changes(&self, room_id: &str) -> RosterChanges {
        let rooms = self.rooms.lock();
        let Some(roster) = rooms.get(room_id) else { return RosterChanges::default() };
        let changed = roster.users.iter().filter(|(_, count)| count.published != Some(count.current));
        let changes = changed
            .take(MAX_CHANGES_PER_CALL)
            .map(|(user, count)| MemberChange::new(Arc::clone(user), count.current));
        RosterChanges {
            changes: changes.collect(),
            has_members: roster.users.values().any(|count| count.current > 0),
        }
    }

    /// Notes that the changes are published.
    pub(super) fn published(&self, room_id: &str, changes: &[MemberChange]) {
        self.set_published(room_id, changes, changes.iter().map(|change| Some(change.connections)));
    }

    /// Notes that it is unknown whether the changes are published; returns the numbers published before.
    pub(super) fn mark_unknown(&self, room_id: &str, changes: &[MemberChange]) -> Vec<Option<u32>> {
        self.set_published(room_id, changes, changes.iter().map(|_| None))
    }

    /// Restores the numbers published before: the changes were certainly refused.
    pub(super) fn restore_published(&self, room_id: &str, changes: &[MemberChange], before: &[Option<u32>]) {
        self.set_published(room_id, changes, before.iter().copied());
    }

    /// Sets the published number of each changed user; returns the previous ones.
    pub(super) fn set_published(
        &self,
        room_id: &str,
        changes: &[MemberChange],
        published: impl Iterator<Item = Option<u32>>,
    ) -> Vec<Option<u32>> {
        let mut rooms = self.rooms.lock();
        let Some(roster) = rooms.get_mut(room_id) else { return Vec::new() };
        let noted = changes.iter().zip(published).map(|(change, published)| {
            let count = roster.users.get_mut(&change.user_id)?;
            std::mem::replace(&mut count.published, published)
        });
        noted.collect()
    }

    /// Returns whether all changes in a room are published; the next change then starts a new task.
    pub(super) fn is_done(&self, room_id: &Arc<str>) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(roster) = rooms.get_mut(room_id) else { return true };
        roster.users.retain(|_, count| (count.current, count.published) != (0, Some(0)));
        roster.publishing = roster.users.values().any(|count| count.published != Some(count.current));
        let done = !roster.publishing;
        if roster.users.is_empty() && Arc::strong_count(&roster.publish_lock) == 1 {
            rooms.remove(room_id);
        }
        done
    }
}
