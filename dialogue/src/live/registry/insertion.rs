//! Creating and inserting instances, within the bounds on rooms.

use std::sync::{Arc, Weak};

use super::{Registry, live_rooms::LiveRooms, opening};
use crate::{
    Code, Refusal,
    live::{
        LiveRoom, Opener, RoomSpec, driver,
        quota::{QuotaExceeded, RecentRoom},
        room::unavailable,
        room_spec::RoomInstanceInfo,
    },
};

/// The reason that an instance isn't opened.
enum InsertError {
    QuotaExceeded(QuotaExceeded),
    /// The number of rooms has reached its bound.
    Full,
}

impl Registry {
    /// Creates the room with id `room_id` explicitly.
    pub(crate) async fn create(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        max_per_user: usize,
        opener: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        if let Some(user) = info.created_by.as_ref().filter(|_| !info.unbounded)
            && self.created_by(user, max_per_user).await? >= max_per_user
        {
            let message = format!("a user creates at most {max_per_user} rooms");
            return Err(Refusal::new(Code::TooMany, message));
        }
        let exists = || Refusal::new(Code::RoomExists, format!("room `{room_id}` exists already"));
        if self.archive().is_none() {
            let (instance, new) = self.insert(room, room_id, info, opener)?;
            return if new { Ok(instance) } else { Err(exists()) };
        }
        // Without the info, until the catalog has shown that the room is new.
        let (instance, new) = self.insert(room, room_id, RoomInstanceInfo::default(), opener)?;
        if !new || self.has_remote_members(room_id).await? {
            return Err(exists());
        }
        match instance.create(info).await? {
            Ok(true) => {
                if instance.info().is_permanent() {
                    self.new_room_quota.withdraw(room_id);
                }
                Ok(instance)
            }
            Ok(false) => Err(exists()),
            Err(_) => Err(unavailable(room_id)),
        }
    }

    /// Returns the number of rooms that a user created, up to `max`.
    async fn created_by(&self, user: &Arc<str>, max: usize) -> Result<usize, Refusal> {
        if let Some(archive) = self.archive() {
            let message = "the number of rooms that you created can't be read now; try again";
            let unknown = |_| Refusal::new(Code::Unavailable, message);
            return archive.created_by(user, max).await.map_err(unknown);
        }
        Ok(self.instances.read().created_by(user))
    }

    /// Returns the instance with id `room_id`, inserting it if need be, and whether it was inserted.
    pub(super) fn insert(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Result<(Arc<LiveRoom>, bool), Refusal> {
        let mut evicted = Vec::new();
        let inserted =
            self.insert_into(&mut self.instances.write(), &mut evicted, room, room_id, info, opener);
        if self.archive().is_none() {
            evicted.iter().for_each(|one: &Arc<LiveRoom>| self.room_evicted(&one.room, &one.id));
        }
        inserted.map_err(|cause| match cause {
            InsertError::QuotaExceeded(exceeded) => self.new_room_quota.refuse(exceeded),
            InsertError::Full => self.too_many(),
        })
    }

    /// Inserts an instance unless there is one; adds the instances that were evicted for it to `evicted`.
    fn insert_into(
        self: &Arc<Self>,
        instances: &mut LiveRooms,
        evicted: &mut Vec<Arc<LiveRoom>>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        info: RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Result<(Arc<LiveRoom>, bool), InsertError> {
        match instances.get(room_id) {
            Some(instance) if !instance.is_closed() => return Ok((Arc::clone(instance), false)),
            // The old instance isn't removed yet, and the new one must not pass for it.
            Some(_) if self.archive().is_none() => self.context.epoch.renew_in_memory(),
            _ => {}
        }
        let id: Arc<str> = room_id.into();
        let opener = opener.filter(|_| room.keyed);
        let new_room = self.count_new(&id, &info, opener).map_err(InsertError::QuotaExceeded)?;
        if room.keyed {
            self.make_space(instances, evicted, opener);
            if !self.has_space(instances, opener) {
                new_room.iter().for_each(|new_room| self.new_room_quota.release(new_room));
                return Err(InsertError::Full);
            }
        }
        let instance = self.new_instance(room, id, info, opener);
        if let Some(new_room) = new_room {
            instance.set_quota_entry(new_room);
        }
        instances.insert(&instance);
        Ok((instance, true))
    }

    /// Counts a room as new for the client that opens it. With a store, the instance finds out whether it is new while
    /// it is opened.
    fn count_new(
        &self,
        id: &Arc<str>,
        info: &RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Result<Option<Arc<RecentRoom>>, QuotaExceeded> {
        let Some(opener) = opener.filter(|_| self.archive().is_none()) else { return Ok(None) };
        let new_room = self.new_room_quota.admit(opener, id)?;
        if info.is_permanent() {
            // It counts for the client, but is never evicted for its sake.
            self.new_room_quota.withdraw(id);
        }
        Ok(Some(new_room))
    }

    /// Evicts instances at the bound, those of the client itself if it opened more than its share.
    fn make_space(
        &self,
        instances: &mut LiveRooms,
        evicted: &mut Vec<Arc<LiveRoom>>,
        opener: Option<&Opener>,
    ) {
        if instances.len() < self.max_instances() {
            return;
        }
        let own = opener.and_then(|opener| self.new_room_quota.over_share(opener));
        let own = own.map(|own| self.new_room_quota.rooms_of(own));
        evicted.extend(self.evict(instances, own.as_ref()));
        match own {
            Some(own) if evicted.is_empty() => self.new_room_quota.set_scan_cursor(&own.subject, own.last),
            Some(own) => self.new_room_quota.reset_scan_cursor(&own.subject),
            None => {}
        }
    }

    /// Returns whether the bound allows one more instance of a keyed room. With a store it always does, since the bound
    /// is on the rooms in the store.
    fn has_space(&self, instances: &LiveRooms, opener: Option<&Opener>) -> bool {
        let max = self.max_instances();
        if instances.len() < max || self.archive().is_some() {
            return true;
        }
        // Rooms that clients hold don't count against the application.
        let held =
            instances.iter().filter(|one| one.room.keyed && (one.size() == 0 || one.info().is_permanent()));
        opener.is_none() && instances.len() < max + self.max_rooms && held.count() < self.max_rooms
    }

    /// Creates an instance, and opens it from the store if there is one.
    fn new_instance(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        id: Arc<str>,
        info: RoomInstanceInfo,
        opener: Option<&Opener>,
    ) -> Arc<LiveRoom> {
        let owner: Weak<Self> = Arc::downgrade(self);
        let room = Arc::clone(room);
        let instance = LiveRoom::new(&self.context, owner, driver::spawn, room, id, info, opener.cloned());
        if self.archive().is_some() {
            // The task ends with the registry, or once the instance is idle.
            self.context.runtime.spawn(opening::open(Arc::downgrade(self), Arc::clone(&instance)));
        }
        instance
    }

    /// The number of instances in memory at which some are evicted: those of rooms without a key come on top.
    fn max_instances(&self) -> usize {
        self.max_rooms + self.rooms.len()
    }

    pub(in crate::live) fn too_many(&self) -> Refusal {
        Refusal::new(
            Code::TooMany,
            format!("there are {} rooms, as many as the server allows", self.max_rooms),
        )
    }

    /// Returns whether there are as many instances in memory as the bound allows.
    pub(in crate::live) fn is_full(&self) -> bool {
        self.instances.read().len() > self.max_instances()
    }
}
