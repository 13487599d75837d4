//! All room instances of this process.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, atomic::Ordering},
};

use parking_lot::RwLock;
use tokio::{runtime::Handle, task::JoinHandle};

use super::{
    Instance, RoomDecl,
    inbox::{Command, Publish},
    instance::{Info, Refused},
    state::State,
};
use crate::{
    Code, Refusal,
    hooks::RoomRef,
    wire::{Id, frame},
};

/// Finds and makes room instances.
pub(crate) struct Registry {
    rooms: Vec<Arc<RoomDecl>>,
    names: HashMap<&'static str, usize>,
    /// Ordered, so that a list of them can be paged through.
    instances: RwLock<BTreeMap<Arc<str>, Arc<Instance>>>,
    /// What new logs are called. Empty ones may share it: an instance that nobody needed and that is made again is the
    /// same to whoever comes back. Once a log is lost, new ones are called otherwise.
    epoch: RwLock<Arc<str>>,
    most: usize,
    runtime: Handle,
}

/// Bytes of a list of rooms: a reply has to fit into what may wait for a connection.
const PAGE: usize = 256 << 10;

/// What a caller of [`Registry::create`] says of the instance.
pub(crate) type InstanceInfo = Info;

impl Registry {
    /// `most` bounds the instances of keyed rooms.
    pub(crate) fn new(rooms: Vec<Arc<RoomDecl>>, most: usize, runtime: Handle) -> Arc<Self> {
        let names = rooms.iter().map(|room| (room.name, room.index)).collect();
        let epoch = RwLock::new(Id::fresh().as_str().into());
        Arc::new(Registry { rooms, names, instances: RwLock::default(), epoch, most, runtime })
    }

    /// The declaration that `room_id` is of, and the text of its key.
    pub(crate) fn declared<'a>(
        &self,
        room_id: &'a str,
    ) -> Result<(&Arc<RoomDecl>, Option<&'a str>), Refusal> {
        let (name, key) = match room_id.split_once(':') {
            Some((name, key)) => (name, Some(key)),
            None => (room_id, None),
        };
        let room = self.names.get(name).and_then(|index| self.rooms.get(*index));
        room.filter(|room| room.keyed == key.is_some())
            .map(|room| (room, key))
            .ok_or_else(|| not_found(room_id))
    }

    /// The instance called `room_id` if there is one.
    pub(crate) fn find(&self, room_id: &str) -> Option<Arc<Instance>> {
        self.instances.read().get(room_id).filter(|instance| !instance.is_retired()).cloned()
    }

    /// The instance called `room_id`, made if need be. Whoever calls has checked that the key is one.
    pub(crate) fn enter(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
    ) -> Result<Arc<Instance>, Refusal> {
        match self.find(room_id) {
            Some(instance) => Ok(instance),
            None => self.insert(room, room_id, Info::default()).map(|(instance, _)| instance),
        }
    }

    /// Makes the instance called `room_id`.
    pub(crate) fn create(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: Info,
        most_of_a_user: usize,
    ) -> Result<Arc<Instance>, Refusal> {
        if let Some(user) = &info.created_by {
            let own = |instance: &&Arc<Instance>| instance.info.created_by.as_ref() == Some(user);
            if self.instances.read().values().filter(own).count() >= most_of_a_user {
                let message = format!("a user creates at most {most_of_a_user} rooms");
                return Err(Refusal::new(Code::TooMany, message));
            }
        }
        match self.insert(room, room_id, info)? {
            (instance, true) => Ok(instance),
            (_, false) => Err(Refusal::new(Code::RoomExists, format!("room `{room_id}` exists already"))),
        }
    }

    /// Instances after `after` in the order of their ids.
    pub(crate) fn list(
        &self,
        after: Option<&str>,
        mut visible: impl FnMut(&Instance) -> bool,
        limit: usize,
    ) -> frame::Rooms {
        let (mut rooms, mut size) = (Vec::new(), 0);
        let mut last: Option<Arc<str>> = after.map(Arc::from);
        loop {
            // The application is asked what is visible, which may ask for rooms itself: not under the lock.
            let stretch = self.stretch(last.as_deref());
            let Some(end) = stretch.last() else { return frame::Rooms { rooms, more: false } };
            last = Some(Arc::clone(&end.id));
            for instance in stretch.iter().filter(|one| visible(one)) {
                let room = instance.describe();
                size += serde_json::to_string(&room).map_or(0, |json| json.len() + 1);
                // One room always fits, so that who asks on comes to the end.
                if rooms.len() == limit || (size > PAGE && !rooms.is_empty()) {
                    return frame::Rooms { rooms, more: true };
                }
                rooms.push(room);
            }
        }
    }

    /// Some instances after `after`, in the order of their ids.
    fn stretch(&self, after: Option<&str>) -> Vec<Arc<Instance>> {
        const STRETCH: usize = 256;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let instances = self.instances.read();
        let stretch = instances.range::<str, _>((from, Bound::Unbounded)).take(STRETCH);
        stretch.map(|(_, instance)| Arc::clone(instance)).collect()
    }

    /// Does `f` in the turn of the instance called `room_id`, which is made if need be.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        f: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut command = Command::Run(Box::new(move |state| {
            // Whoever asked may be gone.
            let _ = sender.send(f(state));
        }));
        loop {
            match self.enter(room, room_id)?.push(command) {
                Ok(()) => return receiver.await.map_err(|_| internal()),
                Err(back) => command = back,
            }
        }
    }

    /// Does `f` in the turn of the instance called `room_id`, which is made if need be; yields that.
    pub(crate) fn cast(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        f: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<Arc<Instance>, Refusal> {
        let mut command = Command::Run(Box::new(f));
        loop {
            let instance = self.enter(room, room_id)?;
            match instance.push(command) {
                Ok(()) => return Ok(instance),
                Err(back) => command = back,
            }
        }
    }

    /// Runs `task` where the rooms' own work runs.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    /// Puts an event into the instance called `room_id`, which is made if need be.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        mut publish: Publish,
    ) -> Result<(), Refusal> {
        loop {
            publish = match self.enter(room, room_id)?.publish(publish).await {
                Ok(()) => return Ok(()),
                Err(Refused::Retired(Command::Publish(back))) => back,
                Err(_) => return Err(busy(room_id)),
            };
        }
    }

    /// Makes the instances of rooms without key, which are there from the start.
    pub(crate) fn open(self: &Arc<Self>) {
        for room in self.rooms.iter().filter(|room| !room.keyed) {
            // Only instances of keyed rooms are bounded.
            let _ = self.enter(room, room.name);
        }
    }

    /// Takes a retired instance out; its log may be `lost` with it.
    pub(super) fn forget(&self, instance: &Arc<Instance>, lost: bool) {
        let mut instances = self.instances.write();
        if lost {
            *self.epoch.write() = Id::fresh().as_str().into();
        }
        if instances.get(&instance.id).is_some_and(|other| Arc::ptr_eq(other, instance)) {
            instances.remove(&instance.id);
        }
    }

    /// Retires those that were left empty longest, a few at once, since each time all are looked at. Their logs are lost.
    ///
    /// What was created on purpose stays, unless it was by an anonymous user: one of those is as many as it likes to be.
    fn make_space(&self, instances: &mut BTreeMap<Arc<str>, Arc<Instance>>) {
        let mut empty: Vec<_> = instances
            .values()
            .filter(|one| one.room.keyed && !one.info.is_kept() && one.size() == 0)
            .map(|one| (one.emptied.load(Ordering::Relaxed), Arc::clone(&one.id)))
            .collect();
        empty.sort_unstable();
        let gone = empty.into_iter().map(|(_, id)| id);
        let gone = gone.filter(|id| instances.get(id).is_some_and(|one| one.retire_if_idle()));
        let gone: Vec<_> = gone.take(self.most.div_ceil(128)).collect();
        if !gone.is_empty() {
            *self.epoch.write() = Id::fresh().as_str().into();
        }
        gone.iter().for_each(|id| drop(instances.remove(id)));
    }

    /// The instance, and whether it is new.
    fn insert(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: Info,
    ) -> Result<(Arc<Instance>, bool), Refusal> {
        let mut instances = self.instances.write();
        match instances.get(room_id) {
            Some(instance) if !instance.is_retired() => return Ok((Arc::clone(instance), false)),
            // It is not forgotten yet, but what takes its place must not pass for it.
            Some(_) => *self.epoch.write() = Id::fresh().as_str().into(),
            None => {}
        }
        if room.keyed && instances.len() >= self.most + self.rooms.len() {
            self.make_space(&mut instances);
        }
        if room.keyed && instances.len() >= self.most + self.rooms.len() {
            return Err(Refusal::new(
                Code::TooMany,
                format!("there are {} rooms, and no more may be made", self.most),
            ));
        }
        let id: Arc<str> = room_id.into();
        let instance = Instance::new(
            Arc::downgrade(self),
            self.runtime.clone(),
            Arc::clone(room),
            Arc::clone(&id),
            Arc::clone(&self.epoch.read()),
            info,
        );
        instances.insert(id, Arc::clone(&instance));
        Ok((instance, true))
    }
}

impl Instance {
    /// As hooks see it.
    pub(crate) fn room_ref(&self) -> RoomRef<'_> {
        RoomRef { id: &self.id, name: self.room.name }
    }

    /// What a list of rooms says of it.
    pub(crate) fn describe(&self) -> frame::RoomInfo {
        let options = &self.room.options;
        let own = |text: Option<&str>| text.map(str::to_owned);
        frame::RoomInfo {
            room_id: self.id.to_string(),
            name: own(self.info.name.as_deref().or(options.title))
                .unwrap_or_else(|| self.room.name.to_owned()),
            description: own(self.info.description.as_deref().or(options.description)),
            size: self.size(),
            max_size: self.max_size(),
            created_by: own(self.info.created_by.as_deref()),
        }
    }
}

/// No room of that name, or none that the caller may know of.
pub(crate) fn not_found(room_id: &str) -> Refusal {
    // The id is a stranger's text: a part of it is enough to find one's mistake.
    let shown: String = room_id.chars().take(64).collect();
    Refusal::new(Code::RoomNotFound, format!("there is no room `{shown}`"))
}

/// The room's writer doesn't keep up.
pub(crate) fn busy(room_id: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("room `{room_id}` can't keep up; try again"))
}

fn internal() -> Refusal {
    Refusal::new(Code::Internal, "internal error")
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
