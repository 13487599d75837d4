//! The publication of this node's members to the other nodes, in gathered changes.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Cluster,
    backplane::MembersUpdate,
    local_roster::{MAX_CHANGES_PER_CALL, RosterChanges, UserCount},
    with_timeout,
};
use crate::store::StoreError;

/// A reserved place in a room with a bounded number of connections. Dropping it gives the place back; a connection that
/// has joined is counted on its own.
#[derive(Debug)]
pub(crate) struct PlaceReservation {
    cluster: Arc<Cluster>,
    room_id: Arc<str>,
    user: Arc<str>,
}

/// The time for which changes are gathered.
const GATHER_INTERVAL: Duration = Duration::from_millis(20);
/// Checks whether all changes are published when the node leaves: for a second altogether.
const MAX_SETTLE_CHECKS: usize = 50;
/// The delay between attempts: it doubles from the first up to the maximum.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

impl Cluster {
    /// Counts a connection of a user that joined a room.
    pub(crate) fn member_joined(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>) {
        self.count(room_id, user, |current| current + 1);
    }

    /// Removes a connection of a user that left a room from the count.
    pub(crate) fn member_left(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>) {
        self.count(room_id, user, |current| current.saturating_sub(1));
    }

    fn count(self: &Arc<Self>, room_id: &Arc<str>, user: &Arc<str>, change: impl FnOnce(u32) -> u32) {
        let mut rooms = self.local_rosters.rooms.lock();
        let roster = rooms.entry(Arc::clone(room_id)).or_default();
        let count =
            roster.users.entry(Arc::clone(user)).or_insert(UserCount { current: 0, published: Some(0) });
        count.current = change(count.current);
        if !std::mem::replace(&mut roster.publishing, true) {
            // The task ends when everything is published, or with the runtime.
            self.runtime.spawn(publish_until_done(Arc::clone(self), Arc::clone(room_id), GATHER_INTERVAL));
        }
    }

    /// Waits until all changes are published, for a second at most: a node that leaves should leave no members behind.
    pub(crate) async fn settle(&self) {
        for _ in 0..MAX_SETTLE_CHECKS {
            if self.local_rosters.rooms.lock().values().all(|roster| !roster.publishing) {
                return;
            }
            sleep(GATHER_INTERVAL).await;
        }
    }

    /// Publishes all rosters again: the other nodes have dropped them.
    pub(super) fn republish_all(self: &Arc<Self>) {
        let mut rooms = self.local_rosters.rooms.lock();
        for (room_id, roster) in rooms.iter_mut() {
            roster.users.values_mut().for_each(|count| count.published = None);
            if !std::mem::replace(&mut roster.publishing, true) {
                // Spread over time, since all rooms are published again at once.
                let delay = GATHER_INTERVAL + MAX_RETRY_DELAY.mul_f64(fastrand::f64() / 4.0);
                self.runtime.spawn(publish_until_done(Arc::clone(self), Arc::clone(room_id), delay));
            }
        }
    }

    /// Reserves a place for another connection of a user in a room with at most `max_connections` connections over all
    /// nodes; returns `None` if it is full.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place back.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        room_id: &Arc<str>,
        user: &Arc<str>,
        max_connections: u32,
    ) -> Result<Option<PlaceReservation>, StoreError> {
        let publish_lock = self.local_rosters.publish_lock(room_id);
        let _telling = publish_lock.lock().await;
        // Under the lock, so that no other task publishes the count before the reservation is allowed.
        self.local_rosters.add(room_id, user);
        // From here on, dropping the reservation takes the count back.
        let reserved = PlaceReservation {
            cluster: Arc::clone(self),
            room_id: Arc::clone(room_id),
            user: Arc::clone(user),
        };
        Ok(self.publish_changes(room_id, Some(max_connections)).await?.then_some(reserved))
    }

    /// Publishes the changes in a room; returns `false` if they would exceed the bound `max_connections`.
    async fn publish_changes(
        &self,
        room_id: &Arc<str>,
        max_connections: Option<u32>,
    ) -> Result<bool, StoreError> {
        loop {
            let RosterChanges { changes, has_members } = self.local_rosters.changes(room_id);
            if changes.is_empty() {
                return Ok(true);
            }
            let more = changes.len() == MAX_CHANGES_PER_CALL;
            let mut roster = MembersUpdate::new(Arc::clone(room_id), changes.clone(), has_members);
            roster.max_connections = max_connections;
            // The future may be dropped although the call is carried out.
            let before = self.local_rosters.mark_unknown(room_id, &changes);
            match with_timeout(self.backplane.update_members(self.id, roster)).await? {
                true => self.local_rosters.published(room_id, &changes),
                false => {
                    self.local_rosters.restore_published(room_id, &changes, &before);
                    return Ok(false);
                }
            }
            if !more {
                return Ok(true);
            }
        }
    }
}

/// Publishes changes in a room until none is left.
async fn publish_until_done(cluster: Arc<Cluster>, room_id: Arc<str>, mut delay: Duration) {
    let mut retry_delay = FIRST_RETRY_DELAY;
    loop {
        sleep(delay).await;
        let publish_lock = cluster.local_rosters.publish_lock(&room_id);
        let guard = publish_lock.lock().await;
        let published = cluster.publish_changes(&room_id, None).await;
        drop(guard);
        drop(publish_lock);
        match published {
            Ok(_) => (delay, retry_delay) = (GATHER_INTERVAL, FIRST_RETRY_DELAY),
            Err(error) => {
                tracing::debug!(room_id = &*room_id, %error, "the members of a room can't be published");
                delay = retry_delay.mul_f64(0.5 + fastrand::f64() / 2.0);
                retry_delay = (retry_delay * 2).min(MAX_RETRY_DELAY);
            }
        }
        if cluster.local_rosters.is_done(&room_id) {
            return;
        }
    }
}

impl Drop for PlaceReservation {
    fn drop(&mut self) {
        self.cluster.member_left(&self.room_id, &self.user);
    }
}
