//! Who asked for which room's notifications, in the server's store.
//!
//! ```text
//! push/device/PROVIDER/HASH/GENERATION        a registration
//! push/room/ROOM/PROVIDER/HASH/GENERATION     that it is for the room; the user
//! push/user/USER/PROVIDER/HASH                that the user has the device
//! push/address/ADDRESS/PROVIDER/HASH          that the address has, where the user is anonymous
//! ```
//!
//! What comes of a provider's answer removes keys of one generation, so that it never removes a newer registration,
//! whichever process made that and when. A registration is written before what leads to it: what leads to none is stale.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Target,
    device::{Device, DeviceId, Registration, short},
    now,
};
use crate::{Code, Refusal, log::Journal, store::StoreError};

pub(super) struct Devices {
    store: Arc<Journal>,
    bounds: Bounds,
    /// Registrations there are, about: other processes make them too.
    count: AtomicUsize,
    /// One change at a time, so that a user's bound holds.
    turn: Semaphore,
}

/// See the methods of [`Push`](super::Push).
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) of_user: usize,
    pub(super) of_address: usize,
    pub(super) of_all: usize,
    pub(super) rooms: usize,
    pub(super) expire_after: Duration,
}

/// What somebody asks for.
pub(super) struct Wish {
    pub(super) user: String,
    /// Where an anonymous user is, who is another one at will.
    pub(super) address: Option<String>,
    pub(super) provider: &'static str,
    pub(super) target: Target,
    pub(super) language: Option<String>,
    pub(super) rooms: Vec<String>,
}

/// That a registration is for a room.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) registration: Registration,
    pub(super) user: Arc<str>,
}

const DEVICES: &str = "push/device/";
/// What a client waits for at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a device gets nothing whose token its provider calls bad.
const SUSPENDED: Duration = Duration::from_secs(24 * 60 * 60);
/// Records that are read at a time.
const PAGE: usize = 512;

impl Devices {
    pub(super) fn new(store: Arc<Journal>, bounds: Bounds) -> Self {
        Devices { store, bounds, count: AtomicUsize::new(0), turn: Semaphore::new(1) }
    }

    /// Takes a device in, for these rooms too if the user had it registered before.
    ///
    /// # Errors
    ///
    /// `TOO_MANY`, or `UNAVAILABLE` while the store is.
    pub(super) async fn register(&self, wish: Wish) -> Result<(), Refusal> {
        self.in_turn(async {
            let id = DeviceId::new(wish.provider, &wish.target);
            let before = self.registrations(&id).await.map_err(unavailable)?;
            let own = before.last().filter(|(_, device)| device.user == wish.user);
            let mut rooms = own.map(|(_, device)| device.rooms.clone()).unwrap_or_default();
            let new = wish.rooms.into_iter().filter(|room| !rooms.contains(room)).collect::<Vec<_>>();
            rooms.extend(new);
            self.has_space_for(&rooms)?;
            if own.is_none() {
                self.space_for(&wish.user).await?;
            }
            let address = wish.address.as_deref().map(short);
            if let Some(address) = &address
                && own.is_none_or(|(_, device)| device.address.as_ref() != Some(address))
            {
                self.space_at(address).await?;
            }
            if before.is_empty() && self.count.load(Ordering::Relaxed) >= self.bounds.of_all {
                return Err(too_many(format!(
                    "there are {} devices, and no more may be",
                    self.bounds.of_all
                )));
            }
            let device = Device {
                user: wish.user,
                target: wish.target,
                language: wish.language,
                address,
                rooms,
                registered: now(),
                suspended: None,
            };
            self.replace(&id, Some(device), &before).await.map_err(unavailable)
        })
        .await
    }

    /// Refuses more rooms than a device may be registered for: `TOO_MANY`.
    pub(super) fn has_space_for(&self, rooms: &[String]) -> Result<(), Refusal> {
        let most = self.bounds.rooms;
        match rooms.len() > most {
            true => Err(too_many(format!("a device is registered for at most {most} rooms"))),
            false => Ok(()),
        }
    }

    /// Takes the user's device out: of these rooms, or altogether. That it isn't in is fine.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store is.
    pub(super) async fn unregister(
        &self,
        user: &str,
        provider: &str,
        target: &Target,
        rooms: Option<&[String]>,
    ) -> Result<(), Refusal> {
        self.in_turn(async {
            let id = DeviceId::new(provider, target);
            let before = self.registrations(&id).await.map_err(unavailable)?;
            let Some((_, device)) = before.last().filter(|(_, device)| device.user == user) else {
                return Ok(());
            };
            let mut less = device.clone();
            less.rooms.retain(|room| rooms.is_some_and(|rooms| !rooms.contains(room)));
            let less = (!less.rooms.is_empty()).then_some(less);
            self.replace(&id, less, &before).await.map_err(unavailable)
        })
        .await
    }

    /// Takes all devices of a user out; yields how many.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store is.
    pub(super) async fn forget_user(&self, user: &str) -> Result<usize, Refusal> {
        self.in_turn(async {
            let prefix = of_user(user);
            let known =
                self.store.scan(&prefix, None, self.bounds.of_user.max(PAGE)).await.map_err(unavailable)?;
            let mut gone = 0;
            for (key, _) in known {
                let Some(id) = key.strip_prefix(&prefix).and_then(DeviceId::parse) else { continue };
                let before = self.registrations(&id).await.map_err(unavailable)?;
                if before.last().is_some_and(|(_, device)| device.user == user) {
                    self.replace(&id, None, &before).await.map_err(unavailable)?;
                    gone += 1;
                }
            }
            Ok(gone)
        })
        .await
    }

    /// The devices of a provider that are registered for a room, from the one after `after`; and where to go on.
    pub(super) async fn of_room(
        &self,
        room_id: &str,
        provider: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<String>), StoreError> {
        let prefix = format!("{}{provider}/", of_room(room_id));
        let found = self.store.scan(&prefix, after, limit).await?;
        let next = (found.len() >= limit).then(|| found.last().map(|(key, _)| key.clone())).flatten();
        let mut entries: Vec<Entry> = Vec::with_capacity(found.len());
        for (key, user) in found {
            let registration = key.strip_prefix(&of_room(room_id)).and_then(Registration::parse);
            let Some(registration) = registration else { continue };
            let user = String::from_utf8_lossy(&user).as_ref().into();
            // Of two registrations of a device, which there are for a moment, the later counts.
            match entries.last_mut().filter(|last| last.registration.device == registration.device) {
                Some(last) => *last = Entry { registration, user },
                None => entries.push(Entry { registration, user }),
            }
        }
        Ok((entries, next))
    }

    /// What is registered now of the device that an entry is of, if it still gets the room's notifications.
    pub(super) async fn current(
        &self,
        entry: &Entry,
        room_id: &str,
    ) -> Result<Option<(Registration, Device)>, StoreError> {
        let Some((registration, device)) = self.registrations(&entry.registration.device).await?.pop() else {
            // The registration is gone, and what led to it was left.
            self.store.put(vec![(in_room(room_id, &entry.registration), None)]).await?;
            return Ok(None);
        };
        let now = now();
        if self.is_over(&device, now) {
            self.forget(&registration, None).await?;
            return Ok(None);
        }
        let gets = device.user == *entry.user
            && device.rooms.iter().any(|room| room == room_id)
            && device.suspended.is_none_or(|until| until <= now);
        Ok(gets.then_some((registration, device)))
    }

    /// Forgets a registration, if it was made before `since`; yields whether it did. A newer one of the device stays.
    pub(super) async fn forget(
        &self,
        registration: &Registration,
        since: Option<u64>,
    ) -> Result<bool, StoreError> {
        let key = of_registration(registration);
        let Some(device) = self.store.get(&key).await?.and_then(|json| read(&json)) else { return Ok(false) };
        if since.is_some_and(|since| device.registered > since) {
            return Ok(false);
        }
        let mut gone = vec![(key, None)];
        gone.extend(device.rooms.iter().map(|room| (in_room(room, registration), None)));
        gone.push((of_user_device(&device.user, &registration.device), None));
        gone.extend(device.address.iter().map(|address| (at_address(address, &registration.device), None)));
        self.store.put(gone).await?;
        self.uncount();
        Ok(true)
    }

    /// Takes a room out of what a registration is for. A newer one of the device stays as it is.
    pub(super) async fn withdraw(
        &self,
        registration: &Registration,
        room_id: &str,
    ) -> Result<(), StoreError> {
        let key = of_registration(registration);
        let Some(mut device) = self.store.get(&key).await?.and_then(|json| read(&json)) else {
            return Ok(());
        };
        device.rooms.retain(|room| room != room_id);
        if device.rooms.is_empty() {
            return self.forget(registration, None).await.map(drop);
        }
        self.store.put(vec![(key, write(&device)), (in_room(room_id, registration), None)]).await
    }

    /// Lets a registration get nothing for a day; one that is made meanwhile does.
    pub(super) async fn suspend(&self, registration: &Registration) -> Result<(), StoreError> {
        let key = of_registration(registration);
        let Some(mut device) = self.store.get(&key).await?.and_then(|json| read(&json)) else {
            return Ok(());
        };
        device.suspended = Some(now() + millis(SUSPENDED));
        self.store.put(vec![(key, write(&device))]).await
    }

    /// Counts what there is, and forgets what is over.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let (mut after, mut count): (Option<String>, usize) = (None, 0);
        loop {
            let page = self.store.scan(DEVICES, after.as_deref(), PAGE).await?;
            let now = now();
            for (key, json) in &page {
                let Some(registration) = key.strip_prefix(DEVICES).and_then(Registration::parse) else {
                    continue;
                };
                match read(json) {
                    Some(device) if self.is_over(&device, now) => {
                        _ = self.forget(&registration, None).await?
                    }
                    _ => count += 1,
                }
            }
            let Some((last, _)) = page.last().filter(|_| page.len() >= PAGE) else { break };
            after = Some(last.clone());
        }
        self.count.store(count, Ordering::Relaxed);
        Ok(())
    }

    fn is_over(&self, device: &Device, now: u64) -> bool {
        device.registered.saturating_add(millis(self.bounds.expire_after)) <= now
            || device.target.expires().is_some_and(|expires| expires <= now)
    }

    /// All registrations of a device, the newest last: there is one, but for a moment.
    async fn registrations(&self, id: &DeviceId) -> Result<Vec<(Registration, Device)>, StoreError> {
        const MOST: usize = 16;
        let prefix = format!("{DEVICES}{}/", id.as_str());
        let found = self.store.scan(&prefix, None, MOST).await?;
        let parse = |(key, json): (String, Bytes)| {
            Some((Registration::parse(key.strip_prefix(DEVICES)?)?, read(&json)?))
        };
        Ok(found.into_iter().filter_map(parse).collect())
    }

    /// Puts a new registration of a device in the place of those before it.
    async fn replace(
        &self,
        id: &DeviceId,
        mut device: Option<Device>,
        before: &[(Registration, Device)],
    ) -> Result<(), StoreError> {
        let mut records = Vec::new();
        let user = device.as_ref().map(|device| device.user.clone());
        if let Some(device) = &mut device {
            // Later than those before, whatever clocks say.
            let newest = before.iter().map(|(_, device)| device.registered + 1).max().unwrap_or_default();
            device.registered = device.registered.max(newest);
            let registration = Registration::new(id.clone(), device.registered);
            records.push((of_registration(&registration), write(device)));
            let user = Bytes::from(device.user.clone());
            records
                .extend(device.rooms.iter().map(|room| (in_room(room, &registration), Some(user.clone()))));
            records.push((of_user_device(&device.user, id), Some(Bytes::new())));
            records
                .extend(device.address.iter().map(|address| (at_address(address, id), Some(Bytes::new()))));
        }
        let address = device.as_ref().and_then(|device| device.address.clone());
        for (registration, old) in before {
            records.push((of_registration(registration), None));
            records.extend(old.rooms.iter().map(|room| (in_room(room, registration), None)));
            if user.as_ref() != Some(&old.user) {
                records.push((of_user_device(&old.user, id), None));
            }
            let left = old.address.iter().filter(|old| address.as_ref() != Some(*old));
            records.extend(left.map(|old| (at_address(old, id), None)));
        }
        self.store.put(records).await?;
        match (device, before.is_empty()) {
            (Some(_), true) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            (None, false) => self.uncount(),
            _ => {}
        }
        Ok(())
    }

    fn uncount(&self) {
        let less = |count: usize| Some(count.saturating_sub(1));
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// That a user may have one more device.
    async fn space_for(&self, user: &str) -> Result<(), Refusal> {
        let most = self.bounds.of_user;
        let known = self.store.scan(&of_user(user), None, most).await.map_err(unavailable)?;
        if known.len() >= most {
            return Err(too_many(format!("a user has at most {most} devices; `unregisterPush` one")));
        }
        Ok(())
    }

    /// Checks that one more device of anonymous users may be at an address: no fewer than one of them may have.
    async fn space_at(&self, address: &str) -> Result<(), Refusal> {
        let most = self.bounds.of_address.max(self.bounds.of_user);
        let known = self.store.scan(&of_address(address), None, most).await.map_err(unavailable)?;
        if known.len() >= most {
            return Err(too_many(format!("an address has at most {most} devices of anonymous users")));
        }
        Ok(())
    }

    async fn in_turn<T>(&self, change: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let done = timeout(PATIENCE, async {
            let _turn = self.turn.acquire().await;
            change.await
        });
        done.await.unwrap_or_else(|_| Err(unavailable(StoreError::new("no answer in time"))))
    }
}

fn of_registration(registration: &Registration) -> String {
    format!("{DEVICES}{registration}")
}

fn of_room(room_id: &str) -> String {
    format!("push/room/{}/", short(room_id))
}

fn in_room(room_id: &str, registration: &Registration) -> String {
    format!("{}{registration}", of_room(room_id))
}

fn of_user(user: &str) -> String {
    format!("push/user/{}/", short(user))
}

fn of_user_device(user: &str, id: &DeviceId) -> String {
    format!("{}{}", of_user(user), id.as_str())
}

fn of_address(address: &str) -> String {
    format!("push/address/{address}/")
}

fn at_address(address: &str, id: &DeviceId) -> String {
    format!("{}{}", of_address(address), id.as_str())
}

fn read(json: &[u8]) -> Option<Device> {
    serde_json::from_slice(json).ok()
}

fn write(device: &Device) -> Option<Bytes> {
    // Text, numbers, lists of them: nothing in it can fail to be JSON.
    serde_json::to_vec(device).ok().map(Bytes::from)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn too_many(message: String) -> Refusal {
    Refusal::new(Code::TooMany, message)
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::warn!(%error, "devices can't be registered");
    Refusal::new(Code::Unavailable, "devices can't be registered now; try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        push::{Keys, Subscription},
        store::{Memory, Store},
    };

    const ROOM: &str = "project:a/b";

    fn devices(store: &Memory) -> Devices {
        let expire_after = Duration::from_secs(3_600);
        let journal = Journal::new(Arc::new(store.clone()), &tokio::runtime::Handle::current());
        let bounds = Bounds { of_user: 2, of_address: 2, of_all: 3, rooms: 2, expire_after };
        Devices::new(journal, bounds)
    }

    fn wish(user: &str, token: &str) -> Wish {
        Wish {
            user: user.to_owned(),
            address: None,
            provider: "fcm",
            target: Target::Token(token.to_owned()),
            language: None,
            rooms: vec![ROOM.to_owned()],
        }
    }

    async fn entries(devices: &Devices) -> Vec<Entry> {
        devices.of_room(ROOM, "fcm", None, 100).await.unwrap().0
    }

    #[tokio::test]
    async fn what_is_said_of_one_registration_does_not_touch_the_next() {
        let store = Memory::new();
        let (here, elsewhere) = (devices(&store), devices(&store));
        here.register(wish("alice", "t")).await.unwrap();
        let before = entries(&here).await.pop().unwrap();
        elsewhere.register(wish("alice", "t")).await.unwrap();
        assert!(!here.forget(&before.registration, None).await.unwrap());
        here.suspend(&before.registration).await.unwrap();
        let now = entries(&here).await;
        assert_eq!(now.len(), 1);
        assert!(here.current(&now[0], ROOM).await.unwrap().is_some());
        assert!(here.forget(&now[0].registration, None).await.unwrap());
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_device_is_its_newest_users() {
        let devices = devices(&Memory::new());
        devices.register(wish("alice", "t")).await.unwrap();
        let alices = entries(&devices).await.pop().unwrap();
        devices.register(wish("bob", "t")).await.unwrap();
        assert!(devices.current(&alices, ROOM).await.unwrap().is_none());
        let bobs = entries(&devices).await;
        assert_eq!((bobs.len(), &*bobs[0].user), (1, "bob"));
        assert_eq!((devices.forget_user("alice").await, devices.forget_user("bob").await), (Ok(0), Ok(1)));
    }

    #[tokio::test]
    async fn bounds_of_a_user_of_all_and_of_rooms() {
        let devices = devices(&Memory::new());
        let code = |done: Result<(), Refusal>| done.err().map(|refusal| refusal.code);
        for (user, token, expected) in [
            ("alice", "1", None),
            ("alice", "2", None),
            ("alice", "3", Some(Code::TooMany)),
            ("bob", "3", None),
            ("carol", "4", Some(Code::TooMany)),
            ("carol", "3", None),
        ] {
            assert_eq!(code(devices.register(wish(user, token)).await), expected, "{user} {token}");
        }
        let mut more = wish("carol", "3");
        more.rooms = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(code(devices.register(more).await), Some(Code::TooMany));
    }

    #[tokio::test]
    async fn anonymous_users_of_an_address_share_a_bound() {
        let store = Memory::new();
        let devices = devices(&store);
        let at = |user: &str, token: &str, address: &str| Wish {
            address: Some(address.to_owned()),
            ..wish(user, token)
        };
        devices.register(at("anon-1", "1", "a")).await.unwrap();
        devices.register(at("anon-2", "2", "a")).await.unwrap();
        assert_eq!(devices.register(at("anon-3", "3", "a")).await.unwrap_err().code, Code::TooMany);
        // Again, and from elsewhere.
        devices.register(at("anon-2", "2", "a")).await.unwrap();
        devices.register(at("anon-2", "2", "b")).await.unwrap();
        devices.register(at("anon-3", "3", "a")).await.unwrap();
        devices.forget_user("anon-1").await.unwrap();
        let [second, third] = [("anon-2", "2"), ("anon-3", "3")].map(|(user, token)| wish(user, token));
        for Wish { user, provider, target, .. } in [second, third] {
            devices.unregister(&user, provider, &target, None).await.unwrap();
        }
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_subscription_ends_when_its_browser_said() {
        let store = Memory::new();
        let devices = devices(&store);
        let keys = Keys { p256dh: String::new(), auth: String::new() };
        let endpoint = "https://push.example/1".to_owned();
        let target = Target::Subscription(Subscription { endpoint, expiration_time: Some(1), keys });
        devices.register(Wish { target, ..wish("alice", "") }).await.unwrap();
        devices.sweep().await.unwrap();
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }
}
