//! One connection, as the rooms and the server know it.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};

use super::{ConnectionId, Instance, Outbox};
use crate::{hooks::Actor, identity::User, wire::Id};

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
}

/// That a connection is in a room.
#[derive(Debug)]
struct Stay {
    instance: Arc<Instance>,
    told: Told,
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
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.outbox.id()
    }

    pub(crate) fn user(&self) -> User {
        self.user.read().clone()
    }

    /// The user on this connection, as hooks see it.
    pub(crate) fn actor(&self) -> Actor {
        Actor { user: self.user(), client_id: Some(self.client_id.as_str().into()) }
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

    /// The connection is about to be in `instance`; yields whether it wasn't.
    pub(crate) fn enter(&self, instance: &Arc<Instance>) -> bool {
        let mut rooms = self.rooms.lock();
        let is_in = rooms.get(&instance.id).is_some_and(|stay| stay.is_in(instance));
        if !is_in {
            rooms.insert(Arc::clone(&instance.id), Stay { instance: Arc::clone(instance), told: Told::No });
        }
        !is_in
    }

    /// The application is about to be told that the connection joined `instance`; yields whether it is still in.
    pub(crate) fn tell(&self, instance: &Instance) -> bool {
        let mut rooms = self.rooms.lock();
        let stay = rooms.get_mut(&instance.id).filter(|stay| stay.is_in(instance));
        stay.map(|stay| stay.told = Told::Now(None)).is_some()
    }

    /// The application was told that the connection joined `instance`; yields why it is out again, if it is: the application
    /// is to be told that now.
    pub(crate) fn told(&self, instance: &Instance) -> Option<Box<str>> {
        let mut rooms = self.rooms.lock();
        let stay = rooms.get_mut(&instance.id).filter(|stay| stay.is_in(instance))?;
        match std::mem::replace(&mut stay.told, Told::Yes) {
            Told::Now(Some(reason)) => {
                rooms.remove(&instance.id);
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
        rooms.remove(&instance.id).is_some_and(|stay| matches!(stay.told, Told::Yes))
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
