//! The instances in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

use super::Instance;

/// Instances by their ids, in order, so that a list of them can be paged through; and how many each user created.
#[derive(Default)]
pub(super) struct Instances {
    by_id: BTreeMap<Arc<str>, Arc<Instance>>,
    /// What is known of an instance's creator when it is put in, stays so.
    creators: HashMap<Arc<str>, usize>,
}

impl Instances {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, room_id: &str) -> Option<&Arc<Instance>> {
        self.by_id.get(room_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.by_id.values()
    }

    /// Some of them after `after`, in the order of their ids.
    pub(super) fn after(&self, after: Option<&str>, most: usize) -> Vec<Arc<Instance>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .take(most)
            .map(|(_, one)| Arc::clone(one))
            .collect()
    }

    /// How many a user created.
    pub(super) fn created_by(&self, user: &str) -> usize {
        self.creators.get(user).copied().unwrap_or(0)
    }

    /// Puts one in, in the place of one that is no more.
    pub(super) fn insert(&mut self, instance: &Arc<Instance>) {
        if let Some(user) = instance.creator() {
            *self.creators.entry(Arc::clone(user)).or_default() += 1;
        }
        if let Some(gone) = self.by_id.insert(Arc::clone(&instance.id), Arc::clone(instance)) {
            self.forget(&gone);
        }
    }

    /// Takes it out, if it is the one in that place.
    pub(super) fn remove(&mut self, instance: &Arc<Instance>) {
        if self.by_id.get(&instance.id).is_some_and(|other| Arc::ptr_eq(other, instance)) {
            self.by_id.remove(&instance.id);
            self.forget(instance);
        }
    }

    fn forget(&mut self, gone: &Instance) {
        let Some(user) = gone.creator() else { return };
        if let Some(created) = self.creators.get_mut(user) {
            *created -= 1;
            if *created == 0 {
                self.creators.remove(user);
            }
        }
    }
}
