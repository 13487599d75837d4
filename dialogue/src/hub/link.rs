//! One connection, as the rooms and the server know it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::{ConnectionId, Instance, Outbox};
use crate::{hooks::UntypedCaller, identity::User, wire::Id};

/// Whose it is, what it is written to by, and where it is in.
///
/// Shared by its session, its rooms and the directory of users, so that each of them can end what the others hold.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) outbox: Arc<Outbox>,
    /// The connection's public id.
    pub(crate) client_id: Id,
    pub(crate) user_id: Arc<str>,
    /// What is known of the user, by the newest token.
    user: RwLock<User>,
    rooms: Mutex<HashMap<Arc<str>, Stay>>,
    /// The connection is no more: who puts it into a room afterwards is to take it out again.
    closed: AtomicBool,
    /// Rooms were left, or members of them arrived where they moved to.
    changed: Notify,
}

/// That a connection is in a room.
#[derive(Debug)]
struct Stay {
    instance: Arc<Instance>,
    told: Told,
    /// Set from the moment at which the room lost its log until the connection is in the instance that takes its place,
    /// or is taken out. One caller clears it, which accounts for the place that the connection had in the lost
    /// instance.
    moving: bool,
}

/// Whether the application was told that a connection joined, and so is to be told that it left.
#[derive(Debug)]
enum Told {
    No,
    /// It is being told; and the connection is out again already, for this reason.
    Now(Option<Box<str>>),
    Yes,
}

impl Link {
    pub(crate) fn new(outbox: Arc<Outbox>, user: User) -> Arc<Self> {
        Arc::new(Link {
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

    /// The user on this connection, as hooks see it.
    pub(crate) fn actor(&self) -> UntypedCaller {
        UntypedCaller { user: self.user(), client_id: Some(self.client_id.as_str().into()) }
    }

    /// Returns whether the user's newest token has expired.
    pub(crate) fn is_expired(&self) -> bool {
        self.user.read().is_expired()
    }

    /// The same user, by a newer token.
    pub(crate) fn renew(&self, user: User) {
        *self.user.write() = user;
    }

    /// The room called `room_id`, if the connection is in it.
    pub(crate) fn room(&self, room_id: &str) -> Option<Arc<Instance>> {
        self.rooms.lock().get(room_id).map(|stay| Arc::clone(&stay.instance))
    }

    /// All rooms that it is in.
    pub(crate) fn rooms(&self) -> Vec<Arc<Instance>> {
        self.rooms.lock().values().map(|stay| Arc::clone(&stay.instance)).collect()
    }

    pub(crate) fn room_count(&self) -> usize {
        self.rooms.lock().len()
    }

    /// Notes that the connection is about to be in `instance`; returns whether it wasn't. Returns `None`, and notes
    /// nothing, for a member on the way from a lost instance of the room: it would end its own move.
    pub(crate) fn enter(&self, instance: &Arc<Instance>) -> Option<bool> {
        let mut rooms = self.rooms.lock();
        let stay = rooms.get(&instance.id);
        if stay.is_some_and(|stay| stay.moving) {
            return None;
        }
        let is_in = stay.is_some_and(|stay| stay.is_in(instance));
        if !is_in {
            let stay = Stay { instance: Arc::clone(instance), told: Told::No, moving: false };
            rooms.insert(Arc::clone(&instance.id), stay);
        }
        Some(!is_in)
    }

    /// Marks a member of `lost`, which lost its log, as on the way to the instance in its place; returns false where
    /// the connection is closed, or in another instance already.
    pub(super) fn set_off(&self, lost: &Instance) -> bool {
        let mut rooms = self.rooms.lock();
        let stay = rooms.get_mut(&lost.id).filter(|stay| stay.is_in(lost) && !self.is_closed());
        stay.map(|stay| stay.moving = true).is_some()
    }

    /// Points a connection that is on the way from `from` to `next`; returns false where it no longer is. To the
    /// application it stays in the room.
    pub(super) fn move_on(&self, from: &Instance, next: &Arc<Instance>) -> bool {
        let mut rooms = self.rooms.lock();
        let moves = |stay: &&mut Stay| stay.is_in(from) && stay.moving && !self.is_closed();
        let stay = rooms.get_mut(&next.id).filter(moves);
        stay.map(|stay| stay.instance = Arc::clone(next)).is_some()
    }

    /// Ends the move of a connection in `instance`, which lets it in; returns false where the connection was taken out
    /// of the room meanwhile, or closed.
    pub(super) fn arrive(&self, instance: &Instance) -> bool {
        !self.is_closed() && self.end_move(instance)
    }

    /// Ends the move of a connection by way of `instance`; returns true to one caller only.
    pub(super) fn end_move(&self, instance: &Instance) -> bool {
        let mut rooms = self.rooms.lock();
        let stay = rooms.get_mut(&instance.id).filter(|stay| stay.is_in(instance));
        let ended = stay.is_some_and(|stay| std::mem::take(&mut stay.moving));
        if ended {
            self.changed.notify_waiters();
        }
        ended
    }

    /// Returns whether the connection is a member that is on the way from a lost instance of the room to the next.
    pub(crate) fn is_moving(&self, room_id: &str) -> bool {
        self.rooms.lock().get(room_id).is_some_and(|stay| stay.moving)
    }

    /// Waits until the connection has arrived where the members of the room move to, or is out of it.
    pub(crate) async fn arrived(&self, room_id: &str) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_moving(room_id) {
                return;
            }
            changed.await;
        }
    }

    /// The connection is about to leave all its rooms, for good.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The application is about to hear that the connection joined `instance`; returns whether it is still in the room.
    pub(crate) fn tell(&self, instance: &Instance) -> bool {
        let mut rooms = self.rooms.lock();
        // It may have moved on to the next instance already.
        let untold = |stay: &Stay| stay.is_in(instance) || matches!(stay.told, Told::No);
        let stay = rooms.get_mut(&instance.id).filter(|stay| untold(stay));
        stay.map(|stay| stay.told = Told::Now(None)).is_some()
    }

    /// Notes that the `joined` hook for `instance` ran. Returns the reason if the connection is out of the room again: the
    /// `left` hook is to run now.
    pub(crate) fn told(&self, instance: &Instance) -> Option<Box<str>> {
        let mut rooms = self.rooms.lock();
        // While the application was told, the connection may have moved on to the next instance.
        let told = |stay: &Stay| stay.is_in(instance) || matches!(stay.told, Told::Now(_));
        let stay = rooms.get_mut(&instance.id).filter(|stay| told(stay))?;
        match std::mem::replace(&mut stay.told, Told::Yes) {
            Told::Now(Some(reason)) => {
                rooms.remove(&instance.id);
                self.changed.notify_waiters();
                Some(reason)
            }
            _ => None,
        }
    }

    /// The connection is no longer in `instance`; yields whether the application is to be told so: to one caller only,
    /// however many ends meet, and not before it was told of the join.
    pub(crate) fn exit(&self, instance: &Instance, reason: &str) -> bool {
        let mut rooms = self.rooms.lock();
        let Some(stay) = rooms.get_mut(&instance.id).filter(|stay| stay.is_in(instance)) else {
            return false;
        };
        if let Told::Now(gone) = &mut stay.told {
            gone.get_or_insert_with(|| reason.into());
            return false;
        }
        self.changed.notify_waiters();
        rooms.remove(&instance.id).is_some_and(|stay| matches!(stay.told, Told::Yes))
    }

    /// Waits until the connection is in no room.
    pub(crate) async fn left_all(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that what is left after it is noticed.
            changed.as_mut().enable();
            if self.room_count() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// The connection itself is no more, and so is whoever was telling the application of a join; else as
    /// [`exit`](Self::exit).
    pub(crate) fn end(&self, instance: &Instance) -> bool {
        let mut rooms = self.rooms.lock();
        let is_in = rooms.get(&instance.id).is_some_and(|stay| stay.is_in(instance));
        let stay = is_in.then(|| rooms.remove(&instance.id)).flatten();
        stay.is_some_and(|stay| !matches!(stay.told, Told::No))
    }
}

impl Stay {
    fn is_in(&self, instance: &Instance) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.instance), instance)
    }
}
