//! Migration: the members of a superseded instance enter the one that takes its place, on the same connections.
//!
//! A member's [`ConnectionHandle`] marks it as migrating from the moment at which its instance is superseded until the
//! next one admits it. One caller clears the mark: the driver of the instance that admits the member, or the operation
//! that removes the member.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep;

use super::{
    ConnectionHandle, JoinOptions, JoinRequest, LiveRoom, Registry,
    command::RoomChange,
    room::{DELETED_REASON, MigratingMember, Migration},
};
use crate::wire::frame::{self, ServerFrame};

/// Members that aren't admitted yet, each with the instance that it comes from.
type Remaining = Vec<(MigratingMember, Arc<LiveRoom>)>;

/// The outcome of admitting a migrating member.
enum MigrationOutcome {
    In,
    /// It was removed meanwhile.
    Out,
    /// The instance can't admit it now.
    Later,
}

/// The least delay between two attempts; the delay is jittered up to twice that.
const RETRY_DELAY: Duration = Duration::from_millis(250);

impl ConnectionHandle {
    /// Removes the connection from the room of `instance`, even while its members migrate. Returns the instance that it
    /// was in, or was to come from. With a reason, the client is sent `left`.
    pub(crate) async fn remove_from(
        self: &Arc<Self>,
        instance: &Arc<LiveRoom>,
        reason: Option<&str>,
    ) -> Option<Arc<LiveRoom>> {
        let mut instance = Arc::clone(instance);
        loop {
            let (handle, text) = (Arc::clone(self), reason.map(str::to_owned));
            let out = instance.request(|reply| RoomChange::Remove { handle, reason: text, reply });
            if out.await == Some(true) {
                return Some(instance);
            }
            // A superseded instance is closed, and admits no member any more.
            if instance.is_closed() && instance.end_migration(self) {
                if let Some(reason) = reason {
                    send_left(self, &instance.id, reason);
                }
                return Some(instance);
            }
            // The connection may have migrated meanwhile.
            instance = self.room(&instance.id).filter(|now| !Arc::ptr_eq(now, &instance))?;
        }
    }
}

/// Migrates the members of a superseded instance into the next one; ends once all are admitted or have left, or with
/// the registry.
pub(super) async fn run(
    lost: Arc<LiveRoom>,
    registry: Weak<Registry>,
    Migration { members, shown }: Migration,
) {
    let mut remaining: Remaining =
        members.into_iter().map(|migrating| (migrating, Arc::clone(&lost))).collect();
    loop {
        let Some(registry) = registry.upgrade() else { return };
        // Only keyed rooms can be deleted.
        let deleted = if lost.room.keyed { registry.is_deleted(&lost.id).await } else { Ok(false) };
        match deleted {
            Ok(true) => return end(&registry, remaining).await,
            // An instance that can't be opened now is tried again.
            Ok(false) => {
                let next = registry.find_or_open(&lost.room, &lost.id, None);
                if let Ok(next) = next {
                    remaining = move_into(&next, remaining, shown.as_ref()).await;
                    if next.is_deleted() {
                        return end(&registry, remaining).await;
                    }
                }
            }
            Err(_) => {}
        }
        drop(registry);
        if remaining.is_empty() {
            return;
        }
        sleep(RETRY_DELAY.mul_f64(1.0 + fastrand::f64())).await;
    }
}

/// Admits members into `next`; returns those that are to be admitted later.
async fn move_into(
    next: &Arc<LiveRoom>,
    remaining: Remaining,
    shown: Option<&Arc<BTreeSet<Arc<str>>>>,
) -> Remaining {
    let mut coming = Vec::with_capacity(remaining.len());
    for (migrating, from) in remaining {
        if migrating.handle.retarget_migration(&*from, next) {
            coming.push(migrating);
        } else {
            // Its connection may be closed, and its session may have found no instance to remove it from.
            from.end_migration(&migrating.handle);
            let user = Arc::clone(&migrating.handle.user_id);
            next.enqueue(RoomChange::CancelMigration(user));
        }
    }
    let later = |migrating: Vec<MigratingMember>| {
        migrating.into_iter().map(|migrating| (migrating, Arc::clone(next))).collect()
    };
    let handles = coming.iter().map(|migrating| Arc::clone(&migrating.handle)).collect();
    let shown = shown.cloned();
    // Even without a member left: members at other nodes are to be sent the users who left.
    let expect = |reply| RoomChange::ExpectMigrating { handles, shown, reply };
    if next.request(expect).await != Some(true) {
        return later(coming);
    }
    let mut remaining = Vec::new();
    for migrating in coming {
        match migrating.enter(next).await {
            // The superseded instance counted it, too.
            MigrationOutcome::In => next.uncount_member(&migrating.handle),
            MigrationOutcome::Out => {}
            MigrationOutcome::Later => remaining.push(migrating),
        }
    }
    next.enqueue(RoomChange::PruneMigrating);
    later(remaining)
}

/// Ends the migration of members whose room was deleted.
async fn end(registry: &Registry, remaining: Remaining) {
    for (MigratingMember { handle, .. }, from) in remaining {
        if from.end_migration(&handle) {
            send_left(&handle, &from.id, DELETED_REASON);
            registry.removed_from_closed(&handle, &from).await;
        }
    }
}

/// Sends `left` to a client that the server removed from a room.
fn send_left(handle: &ConnectionHandle, room_id: &str, reason: &str) {
    handle.outbox.send(&frame::Left { room_id: room_id.into(), reason: Some(reason.into()) }.encode(None));
}

impl MigratingMember {
    async fn enter(&self, next: &Arc<LiveRoom>) -> MigrationOutcome {
        let join = JoinRequest {
            handle: Arc::clone(&self.handle),
            options: JoinOptions {
                filter: Some(self.filter),
                since: Some(self.since.clone()),
                slot: self.slot,
                id: None,
            },
            is_migrating: true,
        };
        match next.join(&Arc::new(join)).await {
            Ok(_) => MigrationOutcome::In,
            _ if self.handle.is_migrating(&next.id) => MigrationOutcome::Later,
            _ => MigrationOutcome::Out,
        }
    }
}

#[cfg(test)]
impl LiveRoom {
    /// Supersedes the instance as if its log were lost; the returned closure starts the migration.
    pub(crate) async fn lose_log(self: &Arc<Self>) -> impl FnOnce() + use<> {
        let migrating = self.run(|core| core.supersede()).await.expect("it isn't retired");
        self.close();
        let lost = Arc::clone(self);
        move || lost.move_on(migrating)
    }
}
