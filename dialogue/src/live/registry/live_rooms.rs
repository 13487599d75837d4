//! The room instances in memory, ordered by id.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{collections::HashMap, live::LiveRoom};

/// Room instances by their ids, ordered so that a list of them can be paged through, and the number that each user
/// created.
#[derive(Default)]
pub(super) struct LiveRooms {
    by_id: BTreeMap<Arc<str>, Arc<LiveRoom>>,
    /// By the creator known when an instance is inserted, which doesn't change afterwards.
    creators: HashMap<Arc<str>, usize>,
}

impl LiveRooms {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, room_id: &str) -> Option<&Arc<LiveRoom>> {
        self.by_id.get(room_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<LiveRoom>> {
        self.by_id.values()
    }

    /// Returns up to `max` instances after `after`, in the order of their ids.
    pub(super) fn after(&self, after: Option<&str>, max: usize) -> Vec<Arc<LiveRoom>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .take(max)
            .map(|(_, instance)| Arc::clone(instance))
            .collect()
    }

    /// Returns the number of instances that a user created.
    pub(super) fn created_by(&self, user: &str) -> usize {
        self.creators.get(user).copied().unwrap_or(0)
    }

    /// Inserts an instance, replacing a closed one with the same id.
    pub(super) fn insert(&mut self, instance: &Arc<LiveRoom>) {
        if let Some(user) = instance.creator() {
            *self.creators.entry(Arc::clone(user)).or_default() += 1;
        }
        if let Some(removed) = self.by_id.insert(Arc::clone(&instance.id), Arc::clone(instance)) {
            self.uncount_creator(&removed);
        }
    }

    /// Removes an instance, unless another one has taken its place.
    pub(super) fn remove(&mut self, instance: &Arc<LiveRoom>) {
        if self.by_id.get(&instance.id).is_some_and(|other| Arc::ptr_eq(other, instance)) {
            self.by_id.remove(&instance.id);
            self.uncount_creator(instance);
        }
    }

    fn uncount_creator(&mut self, removed: &LiveRoom) {
        let Some(user) = removed.creator() else { return };
        if let Some(created) = self.creators.get_mut(user) {
            *created -= 1;
            if *created == 0 {
                self.creators.remove(user);
            }
        }
    }
}
