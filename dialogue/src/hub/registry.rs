//! All room instances of this process.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
};

use parking_lot::RwLock;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use super::{
    Archive, Instance, Link, Maker, NewBounds, RoomDecl, StateLock,
    backoff::ScanBackoff,
    declared::Info,
    deleted::Deletions,
    inbox::{Command, Publish},
    instances::Instances,
    newcomers::{Exceeded, Newcomers, OwnRooms},
    peers::{Message, Peers},
    state::{State, unavailable},
    upkeep::{self, Upkeep},
};
#[cfg(feature = "push")]
use crate::log::Journal;
use crate::{
    Code, Refusal, hooks::RoomRef, log::epoch, observe::StoreSample, store::StoreError, wire::frame,
};

/// Finds and makes room instances.
pub(crate) struct Registry {
    rooms: Vec<Arc<RoomDecl>>,
    names: HashMap<&'static str, usize>,
    instances: RwLock<Instances>,
    /// What new logs are called. Empty ones may share it: an instance that nobody needed and that is made again is the
    /// same to whoever comes back. Once a log is lost, new ones are called otherwise.
    epoch: RwLock<Arc<str>>,
    /// The store, if there is one.
    pub(super) archive: Option<Arc<Archive>>,
    /// Rooms that were deleted lately, where there is no store to say so.
    pub(super) deletions: Deletions,
    pub(super) upkeep: Upkeep,
    pub(super) most: usize,
    pub(super) newcomers: Newcomers,
    /// The backoff of scans of all instances for those that may leave memory.
    pub(super) scans: ScanBackoff,
    audience: OnceLock<Weak<dyn Audience>>,
    pub(super) runtime: Handle,
    /// Dropped with the registry, which those who work for it notice.
    end: watch::Sender<()>,
}

/// Hears of instances that went to make space for others.
pub(crate) trait Audience: Send + Sync {
    /// The instance called `room_id` went, and its log with it.
    fn forgotten(self: Arc<Self>, room: &Arc<RoomDecl>, room_id: &str);

    /// A connection on the way to the next instance of a room was put out, since the room was deleted.
    fn removed_by_deletion(
        self: Arc<Self>,
        link: Arc<Link>,
        instance: Arc<Instance>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The cause for which an instance isn't made.
enum NotMade {
    Exceeded(Exceeded),
    /// There are as many as may be.
    Full,
}

/// Of all instances, one of so many is retired at a time, since each time all are looked at.
const RETIRED_SHARE: usize = 128;
/// Rooms that are looked at in one go.
const STRETCH: usize = 256;
/// Bytes of a list of rooms: a reply has to fit into what may wait for a connection.
const PAGE: usize = 256 << 10;

/// Rooms that a list looks at, at most: those that its reader may not know of cost as much as others.
pub(super) const LIST_LOOKS: usize = 2_048;

/// A page of the list of rooms.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) rooms: Vec<frame::RoomInfo>,
    pub(crate) more: bool,
    /// The last room that was looked at, where the page ends for that; its reader may not be one who may know of it.
    pub(crate) looked_to: Option<Arc<str>>,
}

/// A room that there is.
enum Known {
    Here(Arc<Instance>),
    /// It isn't in memory.
    Stored(Info),
}

/// What a caller of [`Registry::create`] says of the instance.
pub(crate) type InstanceInfo = Info;

impl Registry {
    /// `most` bounds the instances of keyed rooms, `new` those that a client made lately.
    pub(crate) fn new(
        rooms: Vec<Arc<RoomDecl>>,
        most: usize,
        new: NewBounds,
        archive: Option<Arc<Archive>>,
        runtime: Handle,
    ) -> Arc<Self> {
        let names = rooms.iter().map(|room| (room.name, room.index)).collect();
        let registry = Arc::new(Registry {
            rooms,
            names,
            instances: RwLock::default(),
            epoch: RwLock::new(epoch::fresh()),
            archive,
            deletions: Deletions::default(),
            upkeep: Upkeep::default(),
            most,
            newcomers: Newcomers::new(new, most),
            scans: ScanBackoff::default(),
            audience: OnceLock::new(),
            runtime,
            end: watch::Sender::new(()),
        });
        // They end with the registry.
        registry.runtime.spawn(upkeep::run(Arc::downgrade(&registry)));
        registry.runtime.spawn(upkeep::sweep(Arc::downgrade(&registry)));
        registry
    }

    /// Makes the instances of rooms without key, which are there from the start.
    ///
    /// # Errors
    ///
    /// The store can't be read.
    pub(crate) async fn open(self: &Arc<Self>) -> Result<(), StoreError> {
        self.read_epoch().await?;
        if let Some(archive) = &self.archive {
            archive.count().await?;
        }
        for room in self.rooms.iter().filter(|room| !room.keyed) {
            let opened = self.run(room, room.name, |_| ()).await;
            opened.map_err(|refusal| {
                StoreError::new(format!("can't open room `{}`: {}", room.name, refusal.message))
            })?;
        }
        Ok(())
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

    /// The instance called `room_id` if there is one, in memory or in the store.
    pub(crate) async fn look_up(self: &Arc<Self>, room_id: &str) -> Result<Option<Arc<Instance>>, Refusal> {
        let here = self.find(room_id);
        let (Some(archive), Ok((room, _))) = (&self.archive, self.declared(room_id)) else { return Ok(here) };
        let instance = match here {
            Some(instance) => instance,
            None if archive.known(room_id).await.map_err(|_| unavailable(room_id))?.is_none()
                && self.size_elsewhere(room_id).await? == 0 =>
            {
                return Ok(None);
            }
            None => self.enter(room, room_id, None)?,
        };
        // What is known of it is known once it is open.
        match instance.run(|_| ()).await {
            Some(()) => Ok(Some(instance)),
            None => instance.failure().map_or(Ok(None), Err),
        }
    }

    /// The instance called `room_id`, made if need be: for a client, or for the application. Whoever calls has checked that
    /// the key is one.
    pub(crate) fn enter(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        maker: Option<&Maker>,
    ) -> Result<Arc<Instance>, Refusal> {
        match self.find(room_id) {
            Some(instance) => {
                if maker.is_none() && instance.maker.is_some() {
                    instance.applied.store(true, Ordering::Relaxed);
                }
                Ok(instance)
            }
            None => self.insert(room, room_id, Info::default(), maker).map(|(instance, _)| instance),
        }
    }

    /// Says who hears of instances that go to make space.
    pub(crate) fn tell_forgotten(&self, audience: Weak<dyn Audience>) {
        let _ = self.audience.set(audience);
    }

    /// Has the application hear of a connection that was put out of `instance`, since the room was deleted.
    pub(super) async fn removed_by_deletion(&self, link: Arc<Link>, instance: Arc<Instance>) {
        if let Some(audience) = self.audience.get().and_then(Weak::upgrade) {
            audience.removed_by_deletion(link, instance).await;
        }
    }

    pub(super) fn forgotten(&self, room: &Arc<RoomDecl>, room_id: &str) {
        if let Some(audience) = self.audience.get().and_then(Weak::upgrade) {
            audience.forgotten(room, room_id);
        }
    }

    /// Makes the instance called `room_id`.
    pub(crate) async fn create(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: Info,
        most_of_a_user: usize,
        maker: Option<&Maker>,
    ) -> Result<Arc<Instance>, Refusal> {
        if let Some(user) = info.created_by.as_ref().filter(|_| !info.unbounded)
            && self.created_by(user, most_of_a_user).await? >= most_of_a_user
        {
            let message = format!("a user creates at most {most_of_a_user} rooms");
            return Err(Refusal::new(Code::TooMany, message));
        }
        let exists = || Refusal::new(Code::RoomExists, format!("room `{room_id}` exists already"));
        let Some(archive) = self.archive.clone() else {
            let (instance, new) = self.insert(room, room_id, info, maker)?;
            return if new { Ok(instance) } else { Err(exists()) };
        };
        // Nothing is said of it before it is sure that it is new.
        let (instance, new) = self.insert(room, room_id, Info::default(), maker)?;
        if !new {
            return Err(exists());
        }
        if self.size_elsewhere(room_id).await? > 0 {
            return Err(exists());
        }
        let creating = Arc::clone(&instance);
        let create = instance.wait(move |state| {
            Box::pin(async move {
                if state.has_been() || state.is_gone() {
                    return Ok(false);
                }
                let new = archive.remember(&creating.id, &info).await?;
                if new {
                    creating.describe_as(info);
                    state.tell_peers(Message::Described);
                } else {
                    creating.catch_up();
                }
                state.known();
                Ok::<_, StoreError>(new)
            })
        });
        match create.await? {
            Ok(true) => {
                if instance.info().is_kept() {
                    self.newcomers.withdraw(room_id);
                }
                Ok(instance)
            }
            Ok(false) => Err(exists()),
            Err(_) => Err(unavailable(room_id)),
        }
    }

    /// How many rooms a user created, up to `most`.
    async fn created_by(&self, user: &Arc<str>, most: usize) -> Result<usize, Refusal> {
        if let Some(archive) = &self.archive {
            let message = "how many rooms you created can't be told now; try again";
            let unknown = |_| Refusal::new(Code::Unavailable, message);
            return archive.created_by(user, most).await.map_err(unknown);
        }
        Ok(self.instances.read().created_by(user))
    }

    /// Rooms after `after` in the order of their ids, in memory or not. At most [`LIST_LOOKS`] are looked at, however few
    /// of them are visible.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub(crate) async fn list(
        &self,
        after: Option<&str>,
        mut visible: impl FnMut(RoomRef<'_>, &RoomDecl) -> bool,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        let (mut rooms, mut size, mut looks) = (Vec::new(), 0, 0);
        let mut last: Option<Arc<str>> = after.map(Arc::from);
        loop {
            // The application is asked what is visible, which may ask for rooms itself: not under the lock.
            let stretch = self.known_after(last.as_deref()).await?;
            if stretch.is_empty() {
                return Ok(Listed { rooms, more: false, looked_to: None });
            }
            let (mut ends, mut stored) = (None, Vec::new());
            for (id, room, known) in stretch {
                if looks == LIST_LOOKS {
                    ends = Some(last.clone());
                    break;
                }
                looks += 1;
                if visible(RoomRef { id: &id, name: room.name }, &room) {
                    let described = match &known {
                        Known::Here(instance) => instance.describe(),
                        Known::Stored(info) => room.describe(&id, info, 0),
                    };
                    size += serde_json::to_string(&described).map_or(0, |json| json.len() + 1);
                    // One room always fits, so that who asks on comes to the end.
                    if rooms.len() == limit || (size > PAGE && !rooms.is_empty()) {
                        ends = Some(None);
                        break;
                    }
                    if matches!(known, Known::Stored(_)) {
                        stored.push((rooms.len(), Arc::clone(&id)));
                    }
                    rooms.push(described);
                }
                last = Some(id);
            }
            self.count_members(&mut rooms, stored).await?;
            if let Some(looked_to) = ends {
                return Ok(Listed { rooms, more: true, looked_to });
            }
        }
    }

    /// Says of rooms that aren't in memory here how many connections they hold elsewhere: of all at once, since each question
    /// is a round trip. `stored` names them by their places.
    async fn count_members(
        &self,
        rooms: &mut [frame::RoomInfo],
        stored: Vec<(usize, Arc<str>)>,
    ) -> Result<(), Refusal> {
        let Some(peers) = self.peers().filter(|_| !stored.is_empty()) else { return Ok(()) };
        let (places, ids): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
        let sizes = peers.sizes(&ids).await.map_err(|_| unlisted())?;
        for (place, size) in places.into_iter().zip(sizes) {
            if let Some(room) = rooms.get_mut(place) {
                room.size = size;
            }
        }
        Ok(())
    }

    /// What there is to say of a room, in memory or not.
    pub(crate) async fn describe(
        &self,
        room: &RoomDecl,
        room_id: &str,
    ) -> Result<Option<frame::RoomInfo>, Refusal> {
        if let Some(instance) = self.find(room_id) {
            return Ok(Some(instance.describe()));
        }
        let Some(archive) = &self.archive else { return Ok(None) };
        let known = archive.known(room_id).await.map_err(|_| unavailable(room_id))?;
        let Some(info) = known else { return Ok(None) };
        Ok(Some(room.describe(room_id, &info, self.size_elsewhere(room_id).await?)))
    }

    /// How many connections are in a room that isn't in memory here.
    pub(super) async fn size_elsewhere(&self, room_id: &str) -> Result<usize, Refusal> {
        match self.peers() {
            Some(peers) => peers.size(room_id).await.map_err(|_| unavailable(room_id)),
            None => Ok(0),
        }
    }

    /// Some rooms after `after`, those in memory and those that only the store has.
    async fn known_after(
        &self,
        after: Option<&str>,
    ) -> Result<Vec<(Arc<str>, Arc<RoomDecl>, Known)>, Refusal> {
        let here = self.stretch(after);
        let mut known: BTreeMap<_, _> = BTreeMap::new();
        // Beyond the end of either that is cut off, the other knows more.
        let mut end = (here.len() == STRETCH).then(|| here.last().map(|last| Arc::clone(&last.id))).flatten();
        if let Some(archive) = &self.archive {
            let (stored, last) = archive.rooms(after, STRETCH).await.map_err(|_| unlisted())?;
            end = match (end, last) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            for (id, info) in stored {
                if let Ok((room, _)) = self.declared(&id) {
                    known.insert(id, (Arc::clone(room), Known::Stored(info)));
                }
            }
        }
        for instance in here {
            let room = Arc::clone(&instance.room);
            known.insert(Arc::clone(&instance.id), (room, Known::Here(instance)));
        }
        let known = known.into_iter().map(|(id, (room, known))| (id, room, known));
        Ok(known.take_while(|(id, ..)| end.as_ref().is_none_or(|end| id <= end)).collect())
    }

    /// The rooms that are declared.
    #[cfg(feature = "inspector")]
    pub(crate) fn rooms(&self) -> &[Arc<RoomDecl>] {
        &self.rooms
    }

    /// The instances with the most connections, and how many there are in all.
    #[cfg(feature = "inspector")]
    pub(crate) fn largest(&self, most: usize) -> (Vec<Arc<Instance>>, usize) {
        let (mut largest, mut total) = (Vec::new(), 0);
        let mut last: Option<Arc<str>> = None;
        loop {
            // Some at a time: newcomers need the lock, too.
            let stretch = self.stretch(last.as_deref());
            let Some(end) = stretch.last() else { return (largest, total) };
            last = Some(Arc::clone(&end.id));
            total += stretch.len();
            largest.extend(stretch);
            // Each is asked once: they change meanwhile.
            largest.sort_by_cached_key(|instance| std::cmp::Reverse(instance.size()));
            largest.truncate(most);
        }
    }

    /// Some instances after `after`, in the order of their ids.
    pub(super) fn stretch(&self, after: Option<&str>) -> Vec<Arc<Instance>> {
        self.instances.read().after(after, STRETCH)
    }

    /// Does `f` in the turn of the instance called `room_id`, which is made if need be.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        f: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (command, done) = Command::run(f);
        let instance = self.push(room, room_id, command)?;
        done.await.map_err(|_| instance.failure().unwrap_or_else(internal))
    }

    /// Does in the turn of the instance called `room_id`, which is made if need be, what the store has a part in.
    pub(crate) async fn wait<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        f: impl for<'a> FnOnce(&'a mut State) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (command, done) = Command::wait(f);
        let instance = self.push(room, room_id, command)?;
        done.await.map_err(|_| instance.failure().unwrap_or_else(internal))
    }

    /// Does `f` in the turn of the instance called `room_id`, which is made if need be; yields that.
    pub(crate) fn cast(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        f: impl FnOnce(&mut State) + Send + 'static,
    ) -> Result<Arc<Instance>, Refusal> {
        self.push(room, room_id, Command::Run(Box::new(f)))
    }

    /// Pushes something to do to the instance called `room_id`, which is made if need be; yields that.
    fn push(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        mut command: Command,
    ) -> Result<Arc<Instance>, Refusal> {
        loop {
            let instance = self.enter(room, room_id, None)?;
            match instance.push(command) {
                Ok(()) => return Ok(instance),
                // It was retired just now, and another takes its place.
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
        maker: Option<&Maker>,
    ) -> Result<(), Refusal> {
        loop {
            let instance = self.enter(room, room_id, maker)?;
            instance.has_room().await?;
            publish = match instance.push(Command::Publish(publish)) {
                Ok(()) => return Ok(()),
                Err(Command::Publish(back)) => back,
                Err(_) => return Err(busy(room_id)),
            };
        }
    }

    /// Waits until no other instance changes a room's state.
    pub(crate) async fn lock_state(&self, room_id: &Arc<str>) -> Result<Option<StateLock>, Refusal> {
        let Some(archive) = &self.archive else { return Ok(None) };
        archive.lock_state(room_id, &self.runtime).await.map_err(|error| {
            tracing::debug!(%room_id, %error, "the state of a room can't be locked");
            unavailable(room_id)
        })
    }

    /// The other instances, where there may be any.
    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.archive.as_ref()?.peers.as_ref()
    }

    /// What writes to the store, if there is one.
    #[cfg(feature = "push")]
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.archive.as_ref().map(|archive| &archive.journal)
    }

    /// What ends with the registry.
    pub(super) fn ends(&self) -> watch::Receiver<()> {
        self.end.subscribe()
    }

    /// Whether events can be accepted, as far as is known.
    pub(crate) fn is_up(&self) -> bool {
        self.archive.as_ref().is_none_or(|archive| archive.journal.is_up())
    }

    /// How the store is and what waits for it, if there is one.
    pub(crate) fn store_probed(&self) -> Option<StoreSample> {
        let journal = &self.archive.as_ref()?.journal;
        let (bytes, rooms) = journal.waiting();
        Some(StoreSample { is_up: journal.is_up(), queued_bytes: bytes, queued_rooms: rooms })
    }

    /// What new logs are called.
    pub(super) fn epoch(&self) -> Arc<str> {
        Arc::clone(&self.epoch.read())
    }

    /// Calls new logs as the store says.
    pub(super) async fn read_epoch(&self) -> Result<(), StoreError> {
        if let Some(archive) = &self.archive {
            let epoch = archive.epoch().await?;
            *self.epoch.write() = epoch;
        }
        Ok(())
    }

    /// Calls new logs otherwise from now on.
    pub(super) async fn renew_epoch(&self) -> Result<(), StoreError> {
        let fresh = match &self.archive {
            Some(archive) => archive.new_epoch().await?,
            None => epoch::fresh(),
        };
        *self.epoch.write() = fresh;
        Ok(())
    }

    pub(super) fn too_many(&self) -> Refusal {
        Refusal::new(Code::TooMany, format!("there are {} rooms, and no more may be made", self.most))
    }

    /// Takes a retired instance out; its log may be `lost` with it.
    pub(super) fn forget(&self, instance: &Arc<Instance>, lost: bool) {
        let mut instances = self.instances.write();
        if lost {
            *self.epoch.write() = epoch::fresh();
        }
        instances.remove(instance);
        drop(instances);
        match instance.made.get() {
            Some(made) if instance.left_no_trace() => self.newcomers.release(made),
            Some(made) if instance.is_deleted() || self.archive.is_none() => self.newcomers.gone(made),
            None if instance.is_deleted() => self.newcomers.withdraw(&instance.id),
            _ => {}
        }
    }

    /// Retires those that were left empty longest, a few at once, since each time all are looked at. Where there is no
    /// store, their logs are lost.
    ///
    /// What was created on purpose stays then, unless it was by an anonymous user: one of those is as many as it likes to be.
    /// A client that made more than its share makes space among its `own`, some of which are given.
    fn make_space(&self, instances: &mut Instances, own: Option<&OwnRooms>) -> Vec<Arc<Instance>> {
        let most = self.most.div_ceil(RETIRED_SHARE);
        let may_go = |one: &&Arc<Instance>| one.room.keyed && one.size() == 0;
        let gone = match own {
            Some(own) => {
                // One that came back from the store isn't new, and only leaves memory.
                let is_own = |one: &&Arc<Instance>| match one.made.get() {
                    Some(made) => made.is_of(&own.subject),
                    None => self.archive.is_some(),
                };
                let empty = own.rooms.iter().filter_map(|(_, room_id)| instances.get(room_id));
                retire_longest_empty(empty.filter(|one| is_own(one) && may_go(one)), most)
            }
            None if self.scans.is_on() => {
                let noted = std::iter::from_fn(|| self.scans.next());
                let empty = noted.filter_map(|room_id| instances.get(&room_id)).filter(may_go);
                empty.filter(|one| one.retire_if_idle()).take(most).cloned().collect()
            }
            None => {
                let scan = self.scans.begin();
                let gone = retire_longest_empty(instances.iter().filter(may_go), most);
                if gone.len() == most {
                    scan.found_enough();
                }
                gone
            }
        };
        if !gone.is_empty() && self.archive.is_none() {
            *self.epoch.write() = epoch::fresh();
        }
        for one in &gone {
            instances.remove(one);
            match &self.archive {
                Some(archive) => archive.note_unloaded(one),
                None => one.made.get().into_iter().for_each(|made| self.newcomers.gone(made)),
            }
        }
        gone
    }

    /// Has the instances that nobody is in and that were left longest leave memory, where the store has them; or some of a
    /// client's own. Returns which.
    pub(super) fn unload_idle(&self, own: Option<&OwnRooms>) -> Vec<Arc<str>> {
        let gone = self.make_space(&mut self.instances.write(), own);
        gone.into_iter().map(|one| Arc::clone(&one.id)).collect()
    }

    /// Returns whether clients hold as many instances in memory as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.instances.read().len() > self.most + self.rooms.len()
    }

    /// The instance, and whether it is new.
    fn insert(
        self: &Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        info: Info,
        maker: Option<&Maker>,
    ) -> Result<(Arc<Instance>, bool), Refusal> {
        let mut gone = Vec::new();
        let inserted = self.insert_into(&mut self.instances.write(), &mut gone, (room, room_id), info, maker);
        if self.archive.is_none() {
            gone.iter().for_each(|one: &Arc<Instance>| self.forgotten(&one.room, &one.id));
        }
        inserted.map_err(|cause| match cause {
            NotMade::Exceeded(exceeded) => self.newcomers.refuse(exceeded),
            NotMade::Full => self.too_many(),
        })
    }

    fn insert_into(
        self: &Arc<Self>,
        instances: &mut Instances,
        gone: &mut Vec<Arc<Instance>>,
        (room, room_id): (&Arc<RoomDecl>, &str),
        info: Info,
        maker: Option<&Maker>,
    ) -> Result<(Arc<Instance>, bool), NotMade> {
        match instances.get(room_id) {
            Some(instance) if !instance.is_retired() => return Ok((Arc::clone(instance), false)),
            // It is not forgotten yet, but what takes its place must not pass for it.
            Some(_) if self.archive.is_none() => *self.epoch.write() = epoch::fresh(),
            _ => {}
        }
        let id: Arc<str> = room_id.into();
        // Where there is a store, the instance finds out itself whether it is new.
        let maker = maker.filter(|_| room.keyed);
        let new = maker.filter(|_| self.archive.is_none());
        let made =
            new.map(|maker| self.newcomers.admit(maker, &id)).transpose().map_err(NotMade::Exceeded)?;
        if made.is_some() && info.is_kept() {
            // It counts, but makes no space.
            self.newcomers.withdraw(room_id);
        }
        let most = self.most + self.rooms.len();
        if room.keyed && instances.len() >= most {
            let own = maker.and_then(|maker| self.newcomers.over_share(maker));
            let own = own.map(|own| self.newcomers.made_by(own));
            gone.extend(self.make_space(instances, own.as_ref()));
            match own {
                Some(own) if gone.is_empty() => self.newcomers.note_fruitless_look(&own.subject, own.last),
                Some(own) => self.newcomers.note_fruitful_look(&own.subject),
                None => {}
            }
        }
        if room.keyed && instances.len() >= most && self.archive.is_none() {
            // What clients hold is not in the application's way.
            let held =
                instances.iter().filter(|one| one.room.keyed && (one.size() == 0 || one.info().is_kept()));
            if maker.is_some() || instances.len() >= most + self.most || held.count() >= self.most {
                made.iter().for_each(|made| self.newcomers.release(made));
                return Err(NotMade::Full);
            }
        }
        let instance = Instance::new(self, Arc::clone(room), id, self.epoch(), info, maker.cloned());
        if let Some(made) = made {
            instance.is_made(made);
        }
        instances.insert(&instance);
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
        self.room.describe(&self.id, &self.info(), self.total())
    }
}

impl RoomDecl {
    /// What a list of rooms says of an instance.
    fn describe(&self, room_id: &str, info: &Info, size: usize) -> frame::RoomInfo {
        let own = |text: Option<&str>| text.map(str::to_owned);
        frame::RoomInfo {
            room_id: room_id.to_owned(),
            name: own(info.name.as_deref().or(self.options.title)).unwrap_or_else(|| self.name.to_owned()),
            description: own(info.description.as_deref().or(self.options.description)),
            size,
            max_size: self.max_size(info),
            created_by: own(info.created_by.as_deref()),
        }
    }
}

/// Retires `most` of some instances at most, those that were left empty longest; returns which.
fn retire_longest_empty<'a>(
    instances: impl Iterator<Item = &'a Arc<Instance>>,
    most: usize,
) -> Vec<Arc<Instance>> {
    let mut empty: Vec<_> = instances.cloned().collect();
    empty.sort_by_cached_key(|one| (one.emptied.load(Ordering::Relaxed), Arc::clone(&one.id)));
    empty.into_iter().filter(|one| one.retire_if_idle()).take(most).collect()
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

/// The store doesn't tell which rooms there are.
fn unlisted() -> Refusal {
    Refusal::new(Code::Unavailable, "the list of rooms can't be read now; try again")
}

fn internal() -> Refusal {
    Refusal::new(Code::Internal, "internal error")
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("rooms", &self.rooms.len()).finish_non_exhaustive()
    }
}
