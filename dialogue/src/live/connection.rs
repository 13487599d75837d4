//! The handle of a connection: its user, its outbox and its room memberships.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{ConnectionId, Outbox};
use crate::{collections::HashMap, hooks::UntypedCaller, identity::User, wire::Id};

/// The number of a room instance in memory, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InstanceId(u64);

impl InstanceId {
    /// Returns the number of a new instance.
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        InstanceId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A room instance, as the connections know it that are in it.
pub(crate) trait JoinedRoom: Any + fmt::Debug + Send + Sync {
    /// Returns the id of the room instance.
    fn id(&self) -> &Arc<str>;

    /// Returns its number on this node.
    fn instance_id(&self) -> InstanceId;
}

/// The handle of a connection.
///
/// It is shared by the connection's session, its rooms and the directory of users, so that each of them can end what
/// the others hold.
#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    pub(crate) outbox: Arc<Outbox>,
    /// The connection's public id.
    pub(crate) client_id: Id,
    pub(crate) user_id: Arc<str>,
    /// The user, as described by the newest token.
    user: RwLock<User>,
    rooms: Mutex<HashMap<Arc<str>, RoomMembership>>,
    /// Set once the connection is closed: a caller that adds it to a room afterwards has to remove it again.
    closed: AtomicBool,
    /// Notified when a room was left, or a migration ended.
    changed: Notify,
}

/// The membership of a connection in a room.
#[derive(Debug)]
struct RoomMembership {
    instance: Arc<dyn JoinedRoom>,
    joined_hook: JoinedHook,
    /// Set from the moment at which the instance was superseded until the connection is in the next instance, or is
    /// removed. The caller that clears it accounts for the place that the connection had in the old instance.
    migrating: bool,
}

/// The state of the application's `joined` hook, on which running the `left` hook depends.
#[derive(Debug)]
enum JoinedHook {
    NotRun,
    /// It is running; with a reason, the connection has left again meanwhile.
    Running(Option<Box<str>>),
    Ran,
}

impl ConnectionHandle {
    pub(crate) fn new(outbox: Arc<Outbox>, user: User) -> Arc<Self> {
        Arc::new(ConnectionHandle {
            outbox,
            client_id: Id::fresh(),
            user_id: Arc::clone(&user.id),
            user: RwLock::new(user),
            rooms: Mutex::default(),
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.outbox.id()
    }

    pub(crate) fn user(&self) -> User {
        self.user.read().clone()
    }

    /// Returns the user on this connection, as hooks get it.
    pub(crate) fn actor(&self) -> UntypedCaller {
        UntypedCaller { user: self.user(), client_id: Some(self.client_id.as_str().into()) }
    }

    /// Returns whether the user's newest token has expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.user.read().is_expired()
    }

    /// Replaces the user after a newer token.
    pub(crate) fn renew(&self, user: User) {
        *self.user.write() = user;
    }

    /// Returns the instance of room `room_id`, if the connection is a member.
    pub(super) fn joined(&self, room_id: &str) -> Option<Arc<dyn JoinedRoom>> {
        self.rooms.lock().get(room_id).map(|membership| Arc::clone(&membership.instance))
    }

    /// Returns the instances of all rooms in which the connection is a member.
    pub(super) fn all_joined(&self) -> Vec<Arc<dyn JoinedRoom>> {
        self.rooms.lock().values().map(|membership| Arc::clone(&membership.instance)).collect()
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.lock().len()
    }

    /// Notes that the connection is about to join `instance`; returns whether it wasn't a member. Returns `None`, and
    /// notes nothing, for a member that is migrating: joining would end its own migration.
    pub(crate) fn enter<R: JoinedRoom>(&self, instance: &Arc<R>) -> Option<bool> {
        let mut rooms = self.rooms.lock();
        let membership = rooms.get(instance.id());
        if membership.is_some_and(|membership| membership.migrating) {
            return None;
        }
        let is_in = membership.is_some_and(|membership| membership.is_in(instance.instance_id()));
        if !is_in {
            let membership = RoomMembership {
                instance: Arc::<R>::clone(instance),
                joined_hook: JoinedHook::NotRun,
                migrating: false,
            };
            rooms.insert(Arc::clone(instance.id()), membership);
        }
        Some(!is_in)
    }

    /// Marks a member of the superseded instance `lost` as migrating; returns `false` if the connection is closed, or
    /// in another instance already.
    pub(super) fn begin_migration(&self, room_id: &str, lost: InstanceId) -> bool {
        let mut rooms = self.rooms.lock();
        let membership =
            rooms.get_mut(room_id).filter(|membership| membership.is_in(lost) && !self.is_closed());
        membership.map(|membership| membership.migrating = true).is_some()
    }

    /// Sets the target of a connection's migration from `from` to `next`; returns `false` if it isn't migrating any
    /// more. To the application it stays in the room.
    pub(super) fn retarget_migration<R: JoinedRoom>(&self, from: &R, next: &Arc<R>) -> bool {
        let mut rooms = self.rooms.lock();
        let moves = |membership: &&mut RoomMembership| {
            membership.is_in(from.instance_id()) && membership.migrating && !self.is_closed()
        };
        let membership = rooms.get_mut(next.id()).filter(moves);
        membership.map(|membership| membership.instance = Arc::<R>::clone(next)).is_some()
    }

    /// Ends the migration of a connection in `instance`, which admits it; returns `false` if the connection was removed
    /// from the room meanwhile, or closed.
    pub(super) fn finish_migration(&self, room_id: &str, instance: InstanceId) -> bool {
        !self.is_closed() && self.end_migration(room_id, instance)
    }

    /// Ends the migration of a connection in `instance`; returns `true` to one caller only.
    pub(super) fn end_migration(&self, room_id: &str, instance: InstanceId) -> bool {
        let mut rooms = self.rooms.lock();
        let membership = rooms.get_mut(room_id).filter(|membership| membership.is_in(instance));
        let ended = membership.is_some_and(|membership| std::mem::take(&mut membership.migrating));
        if ended {
            self.changed.notify_waiters();
        }
        ended
    }

    /// Returns whether the connection is migrating from a superseded instance of the room to the next.
    pub(crate) fn is_migrating(&self, room_id: &str) -> bool {
        self.rooms.lock().get(room_id).is_some_and(|membership| membership.migrating)
    }

    /// Waits until the connection's migration in the room has ended: it is in the next instance, or out of the room.
    pub(crate) async fn migration_ended(&self, room_id: &str) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_migrating(room_id) {
                return;
            }
            changed.await;
        }
    }

    /// Marks the connection as closed; it is about to leave all its rooms.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Notes that the `joined` hook for `instance` is about to run; returns `false` if the connection has left the room
    /// meanwhile.
    pub(crate) fn begin_joined_hook(&self, instance: &impl JoinedRoom) -> bool {
        let mut rooms = self.rooms.lock();
        // It may have migrated to the next instance already.
        let not_run = |membership: &RoomMembership| {
            membership.is_in(instance.instance_id()) || matches!(membership.joined_hook, JoinedHook::NotRun)
        };
        let membership = rooms.get_mut(instance.id()).filter(|membership| not_run(membership));
        membership.map(|membership| membership.joined_hook = JoinedHook::Running(None)).is_some()
    }

    /// Notes that the `joined` hook for `instance` has run. Returns the reason if the connection has left the room
    /// meanwhile: the caller then runs the `left` hook.
    pub(crate) fn end_joined_hook(&self, instance: &impl JoinedRoom) -> Option<Box<str>> {
        let mut rooms = self.rooms.lock();
        // While the hook ran, the connection may have migrated to the next instance.
        let is_running = |membership: &RoomMembership| {
            membership.is_in(instance.instance_id())
                || matches!(membership.joined_hook, JoinedHook::Running(_))
        };
        let membership = rooms.get_mut(instance.id()).filter(|membership| is_running(membership))?;
        match std::mem::replace(&mut membership.joined_hook, JoinedHook::Ran) {
            JoinedHook::Running(Some(reason)) => {
                rooms.remove(instance.id());
                self.changed.notify_waiters();
                Some(reason)
            }
            _ => None,
        }
    }

    /// Removes the membership in `instance`. Returns whether the caller is to run the `left` hook: `true` to one caller
    /// only, and not while the `joined` hook runs.
    pub(crate) fn exit(&self, instance: &impl JoinedRoom, reason: &str) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(membership) =
            rooms.get_mut(instance.id()).filter(|membership| membership.is_in(instance.instance_id()))
        else {
            return false;
        };
        if let JoinedHook::Running(left) = &mut membership.joined_hook {
            left.get_or_insert_with(|| reason.into());
            return false;
        }
        self.changed.notify_waiters();
        rooms
            .remove(instance.id())
            .is_some_and(|membership| matches!(membership.joined_hook, JoinedHook::Ran))
    }

    /// Waits until the connection is in no room.
    pub(crate) async fn all_rooms_left(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before the check, so that no notification is lost in between.
            changed.as_mut().enable();
            if self.room_count() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Removes the membership in `instance` of a closed connection, whose `joined` hook no longer runs; otherwise as
    /// [`exit`](Self::exit).
    pub(crate) fn exit_closed(&self, instance: &impl JoinedRoom) -> bool {
        let mut rooms = self.rooms.lock();
        let is_in =
            rooms.get(instance.id()).is_some_and(|membership| membership.is_in(instance.instance_id()));
        let membership = is_in.then(|| rooms.remove(instance.id())).flatten();
        membership.is_some_and(|membership| !matches!(membership.joined_hook, JoinedHook::NotRun))
    }
}

impl RoomMembership {
    fn is_in(&self, instance: InstanceId) -> bool {
        self.instance.instance_id() == instance
    }
}
