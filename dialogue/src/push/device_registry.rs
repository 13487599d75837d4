//! The device registry: which device gets the notifications of which rooms, as records in the server's store.
//!
//! ```text
//! push/device/PROVIDER/HASH/REVISION        a registration (a device record)
//! push/room/ROOM/PROVIDER/HASH/REVISION     an index entry: the registration is for the room; the user's id
//! push/user/USER/PROVIDER/HASH              an index entry: the user has the device
//! push/address/ADDRESS/PROVIDER/HASH        an index entry: the address has the device of an anonymous user
//! ```
//!
//! A provider's answer removes keys of one revision only. So it never removes a newer registration, whichever process
//! has written that and when. A registration is written before its index entries: an entry without a registration is
//! stale.

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
    PushTarget,
    device::{DeviceId, DeviceRecord, RegistrationId, short_hash},
    now,
};
use crate::{Code, Refusal, log::Journal, store::StoreError};

/// The devices that are registered for notifications.
pub(super) struct DeviceRegistry {
    store: Arc<Journal>,
    bounds: DeviceBounds,
    /// The approximate number of devices: other processes register them too, and are counted by [`sweep`](Self::sweep).
    count: AtomicUsize,
    /// Admits one change at a time, so that concurrent registrations don't exceed a user's bound.
    changing: Semaphore,
}

/// The bounds that [`Push`](super::Push) sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeviceBounds {
    pub(super) max_per_user: usize,
    pub(super) max_per_address: usize,
    pub(super) max_devices: usize,
    pub(super) max_rooms: usize,
    pub(super) expire_after: Duration,
}

/// A user's request to register a device.
pub(super) struct RegistrationRequest {
    pub(super) user_id: String,
    /// The address of an anonymous user, who could otherwise register without bound under new ids.
    pub(super) address: Option<String>,
    pub(super) provider: &'static str,
    pub(super) target: PushTarget,
    pub(super) language: Option<String>,
    pub(super) rooms: Vec<String>,
}

/// An index entry: a registration that is for a room.
#[derive(Debug, Clone)]
pub(super) struct RoomRegistration {
    pub(super) id: RegistrationId,
    pub(super) user_id: Arc<str>,
}

/// A part of the registrations that are for a room.
pub(super) struct DevicePage {
    pub(super) registrations: Vec<RoomRegistration>,
    /// The key behind which the next page begins; `None` for the last page.
    pub(super) next: Option<String>,
}

/// A registration as it is read from the store.
type StoredRegistration = (RegistrationId, DeviceRecord);

const DEVICE_PREFIX: &str = "push/device/";
/// The time after which a client's request fails if the store doesn't answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for which a device gets nothing after its provider called its token invalid.
const SUSPENSION: Duration = Duration::from_secs(24 * 60 * 60);
/// Records that are read from the store at a time.
const PAGE_RECORDS: usize = 512;
/// Registrations of a device that are read: more than there ever are, since each replaces those before it.
const MAX_REGISTRATIONS: usize = 16;

impl DeviceRegistry {
    pub(super) fn new(store: Arc<Journal>, bounds: DeviceBounds) -> Self {
        DeviceRegistry { store, bounds, count: AtomicUsize::new(0), changing: Semaphore::new(1) }
    }

    /// Registers a device. If the same user had it registered before, its rooms are added to those.
    ///
    /// # Errors
    ///
    /// `TOO_MANY` beyond a bound, or `UNAVAILABLE` while the store is.
    pub(super) async fn register(&self, request: RegistrationRequest) -> Result<(), Refusal> {
        self.exclusively(async {
            let id = DeviceId::new(request.provider, &request.target);
            let before = self.registrations(&id).await.map_err(unavailable)?;
            let own = before.last().filter(|(_, device)| device.user_id == request.user_id);
            let mut rooms = own.map(|(_, device)| device.rooms.clone()).unwrap_or_default();
            let new = request.rooms.into_iter().filter(|room| !rooms.contains(room)).collect::<Vec<_>>();
            rooms.extend(new);
            self.check_room_count(&rooms)?;
            if own.is_none() {
                self.check_user_bound(&request.user_id).await?;
            }
            let address_hash = request.address.as_deref().map(short_hash);
            if let Some(address_hash) = &address_hash
                && own.is_none_or(|(_, device)| device.address_hash.as_ref() != Some(address_hash))
            {
                self.check_address_bound(address_hash).await?;
            }
            if before.is_empty() && self.count.load(Ordering::Relaxed) >= self.bounds.max_devices {
                return Err(too_many(format!(
                    "the server has {} devices, which is its maximum",
                    self.bounds.max_devices
                )));
            }
            let device = DeviceRecord {
                user_id: request.user_id,
                target: request.target,
                language: request.language,
                address_hash,
                rooms,
                registered_at: now(),
                suspended_until: None,
            };
            self.replace(&id, Some(device), &before).await.map_err(unavailable)
        })
        .await
    }

    /// Refuses more rooms than a device may be registered for: `TOO_MANY`.
    pub(super) fn check_room_count(&self, rooms: &[String]) -> Result<(), Refusal> {
        let max_rooms = self.bounds.max_rooms;
        match rooms.len() > max_rooms {
            true => Err(too_many(format!("a device is registered for at most {max_rooms} rooms"))),
            false => Ok(()),
        }
    }

    /// Takes the user's device out of some rooms, or removes it without `rooms`. Does nothing if it isn't registered.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store is.
    pub(super) async fn unregister(
        &self,
        user_id: &str,
        provider: &str,
        target: &PushTarget,
        rooms: Option<&[String]>,
    ) -> Result<(), Refusal> {
        self.exclusively(async {
            let id = DeviceId::new(provider, target);
            let before = self.registrations(&id).await.map_err(unavailable)?;
            let Some((_, device)) = before.last().filter(|(_, device)| device.user_id == user_id) else {
                return Ok(());
            };
            let mut remaining = device.clone();
            remaining.rooms.retain(|room| rooms.is_some_and(|rooms| !rooms.contains(room)));
            let remaining = (!remaining.rooms.is_empty()).then_some(remaining);
            self.replace(&id, remaining, &before).await.map_err(unavailable)
        })
        .await
    }

    /// Removes all devices of a user, and returns their number.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store is.
    pub(super) async fn forget_user(&self, user_id: &str) -> Result<usize, Refusal> {
        self.exclusively(async {
            let prefix = user_prefix(user_id);
            let max_records = self.bounds.max_per_user.max(PAGE_RECORDS);
            let entries = self.store.scan(&prefix, None, max_records).await.map_err(unavailable)?;
            let mut removed = 0;
            for (key, _) in entries {
                let Some(id) = key.strip_prefix(&prefix).and_then(DeviceId::parse) else { continue };
                let before = self.registrations(&id).await.map_err(unavailable)?;
                if before.last().is_some_and(|(_, device)| device.user_id == user_id) {
                    self.replace(&id, None, &before).await.map_err(unavailable)?;
                    removed += 1;
                }
            }
            Ok(removed)
        })
        .await
    }

    /// Returns a provider's registrations for a room, behind the key `after`.
    pub(super) async fn page_of_room(
        &self,
        room_id: &str,
        provider: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<DevicePage, StoreError> {
        let prefix = format!("{}{provider}/", room_prefix(room_id));
        let entries = self.store.scan(&prefix, after, limit).await?;
        let next = (entries.len() >= limit).then(|| entries.last().map(|(key, _)| key.clone())).flatten();
        let mut registrations: Vec<RoomRegistration> = Vec::with_capacity(entries.len());
        for (key, user_id) in entries {
            let Some(id) = key.strip_prefix(&room_prefix(room_id)).and_then(RegistrationId::parse) else {
                continue;
            };
            let user_id = String::from_utf8_lossy(&user_id).as_ref().into();
            // While a registration is replaced, a device may have two: the later one counts.
            match registrations.last_mut().filter(|last| last.id.device == id.device) {
                Some(last) => *last = RoomRegistration { id, user_id },
                None => registrations.push(RoomRegistration { id, user_id }),
            }
        }
        Ok(DevicePage { registrations, next })
    }

    /// Returns the current registration of an index entry's device, if the same user still gets the room's
    /// notifications on it. Removes a stale entry and an expired registration.
    pub(super) async fn current(
        &self,
        entry: &RoomRegistration,
        room_id: &str,
    ) -> Result<Option<StoredRegistration>, StoreError> {
        let Some((id, device)) = self.registrations(&entry.id.device).await?.pop() else {
            self.store.put(vec![(room_key(room_id, &entry.id), None)]).await?;
            return Ok(None);
        };
        let now = now();
        if self.is_expired(&device, now) {
            self.forget(&id, None).await?;
            return Ok(None);
        }
        let is_wanted = device.user_id == *entry.user_id
            && device.rooms.iter().any(|room| room == room_id)
            && device.suspended_until.is_none_or(|until| until <= now);
        Ok(is_wanted.then_some((id, device)))
    }

    /// Removes a registration unless it was made after `since`, and returns whether it did. A newer registration of the
    /// device stays.
    pub(super) async fn forget(&self, id: &RegistrationId, since: Option<u64>) -> Result<bool, StoreError> {
        let key = device_key(id);
        let Some(device) = self.store.get(&key).await?.and_then(|json| decode(&json)) else {
            return Ok(false);
        };
        if since.is_some_and(|since| device.registered_at > since) {
            return Ok(false);
        }
        let mut records = vec![(key, None)];
        records.extend(device.rooms.iter().map(|room| (room_key(room, id), None)));
        records.push((user_key(&device.user_id, &id.device), None));
        records.extend(device.address_hash.iter().map(|hash| (address_key(hash, &id.device), None)));
        self.store.put(records).await?;
        self.decrement_count();
        Ok(true)
    }

    /// Takes a registration out of a room. A newer registration of the device stays as it is.
    pub(super) async fn remove_room(&self, id: &RegistrationId, room_id: &str) -> Result<(), StoreError> {
        let key = device_key(id);
        let Some(mut device) = self.store.get(&key).await?.and_then(|json| decode(&json)) else {
            return Ok(());
        };
        device.rooms.retain(|room| room != room_id);
        if device.rooms.is_empty() {
            return self.forget(id, None).await.map(drop);
        }
        self.store.put(vec![(key, encode(&device)), (room_key(room_id, id), None)]).await
    }

    /// Suspends a registration for a day. A newer registration of the device isn't affected.
    pub(super) async fn suspend(&self, id: &RegistrationId) -> Result<(), StoreError> {
        let key = device_key(id);
        let Some(mut device) = self.store.get(&key).await?.and_then(|json| decode(&json)) else {
            return Ok(());
        };
        device.suspended_until = Some(now() + millis(SUSPENSION));
        self.store.put(vec![(key, encode(&device))]).await
    }

    /// Counts all registrations, and removes those that are expired.
    pub(super) async fn sweep(&self) -> Result<(), StoreError> {
        let (mut after, mut count): (Option<String>, usize) = (None, 0);
        loop {
            let page = self.store.scan(DEVICE_PREFIX, after.as_deref(), PAGE_RECORDS).await?;
            let now = now();
            for (key, json) in &page {
                let Some(id) = key.strip_prefix(DEVICE_PREFIX).and_then(RegistrationId::parse) else {
                    continue;
                };
                match decode(json) {
                    Some(device) if self.is_expired(&device, now) => _ = self.forget(&id, None).await?,
                    _ => count += 1,
                }
            }
            let Some((last, _)) = page.last().filter(|_| page.len() >= PAGE_RECORDS) else { break };
            after = Some(last.clone());
        }
        self.count.store(count, Ordering::Relaxed);
        Ok(())
    }

    fn is_expired(&self, device: &DeviceRecord, now: u64) -> bool {
        device.registered_at.saturating_add(millis(self.bounds.expire_after)) <= now
            || device.target.expires_at().is_some_and(|expires_at| expires_at <= now)
    }

    /// Returns all registrations of a device, the newest last. There is more than one only while it is replaced.
    async fn registrations(&self, id: &DeviceId) -> Result<Vec<StoredRegistration>, StoreError> {
        let prefix = format!("{DEVICE_PREFIX}{}/", id.as_str());
        let records = self.store.scan(&prefix, None, MAX_REGISTRATIONS).await?;
        let parse = |(key, json): (String, Bytes)| {
            Some((RegistrationId::parse(key.strip_prefix(DEVICE_PREFIX)?)?, decode(&json)?))
        };
        Ok(records.into_iter().filter_map(parse).collect())
    }

    /// Replaces the registrations of a device by a new one, or by none, in one write.
    async fn replace(
        &self,
        id: &DeviceId,
        mut device: Option<DeviceRecord>,
        before: &[StoredRegistration],
    ) -> Result<(), StoreError> {
        let mut records = Vec::new();
        let user_id = device.as_ref().map(|device| device.user_id.clone());
        if let Some(device) = &mut device {
            // The new revision sorts last, though this process's clock may be behind another's.
            let newest = before.iter().map(|(_, device)| device.registered_at + 1).max().unwrap_or_default();
            device.registered_at = device.registered_at.max(newest);
            let new_id = RegistrationId::new(id.clone(), device.registered_at);
            records.push((device_key(&new_id), encode(device)));
            let user_id = Bytes::from(device.user_id.clone());
            let rooms = device.rooms.iter();
            records.extend(rooms.map(|room| (room_key(room, &new_id), Some(user_id.clone()))));
            records.push((user_key(&device.user_id, id), Some(Bytes::new())));
            let address_hash = device.address_hash.iter();
            records.extend(address_hash.map(|hash| (address_key(hash, id), Some(Bytes::new()))));
        }
        let address_hash = device.as_ref().and_then(|device| device.address_hash.clone());
        for (old_id, old) in before {
            records.push((device_key(old_id), None));
            records.extend(old.rooms.iter().map(|room| (room_key(room, old_id), None)));
            if user_id.as_ref() != Some(&old.user_id) {
                records.push((user_key(&old.user_id, id), None));
            }
            let stale = old.address_hash.iter().filter(|old| address_hash.as_ref() != Some(*old));
            records.extend(stale.map(|old| (address_key(old, id), None)));
        }
        self.store.put(records).await?;
        match (device, before.is_empty()) {
            (Some(_), true) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            (None, false) => self.decrement_count(),
            _ => {}
        }
        Ok(())
    }

    fn decrement_count(&self) {
        let decremented = |count: usize| Some(count.saturating_sub(1));
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, decremented);
    }

    /// Refuses one more device of a user beyond the bound.
    async fn check_user_bound(&self, user_id: &str) -> Result<(), Refusal> {
        let max_devices = self.bounds.max_per_user;
        let entries = self.store.scan(&user_prefix(user_id), None, max_devices).await.map_err(unavailable)?;
        if entries.len() >= max_devices {
            return Err(too_many(format!("a user has at most {max_devices} devices; `unregisterPush` one")));
        }
        Ok(())
    }

    /// Refuses one more device of anonymous users at an address beyond the bound, which is no lower than that of a
    /// user.
    async fn check_address_bound(&self, address_hash: &str) -> Result<(), Refusal> {
        let max_devices = self.bounds.max_per_address.max(self.bounds.max_per_user);
        let prefix = address_prefix(address_hash);
        let entries = self.store.scan(&prefix, None, max_devices).await.map_err(unavailable)?;
        if entries.len() >= max_devices {
            return Err(too_many(format!("an address has at most {max_devices} devices of anonymous users")));
        }
        Ok(())
    }

    /// Runs a change while no other runs in this process, within [`STORE_TIMEOUT`].
    async fn exclusively<T>(&self, change: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let changed = timeout(STORE_TIMEOUT, async {
            let _changing = self.changing.acquire().await;
            change.await
        });
        changed.await.unwrap_or_else(|_| Err(unavailable(StoreError::new("no answer in time"))))
    }
}

fn device_key(id: &RegistrationId) -> String {
    format!("{DEVICE_PREFIX}{id}")
}

fn room_prefix(room_id: &str) -> String {
    format!("push/room/{}/", short_hash(room_id))
}

fn room_key(room_id: &str, id: &RegistrationId) -> String {
    format!("{}{id}", room_prefix(room_id))
}

fn user_prefix(user_id: &str) -> String {
    format!("push/user/{}/", short_hash(user_id))
}

fn user_key(user_id: &str, id: &DeviceId) -> String {
    format!("{}{}", user_prefix(user_id), id.as_str())
}

fn address_prefix(address_hash: &str) -> String {
    format!("push/address/{address_hash}/")
}

fn address_key(address_hash: &str, id: &DeviceId) -> String {
    format!("{}{}", address_prefix(address_hash), id.as_str())
}

fn decode(json: &[u8]) -> Option<DeviceRecord> {
    serde_json::from_slice(json).ok()
}

fn encode(device: &DeviceRecord) -> Option<Bytes> {
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
    tracing::warn!(%error, "can't register or unregister a device");
    Refusal::new(Code::Unavailable, "devices can't be registered now; try again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        push::PushSubscription,
        store::{Memory, Store},
    };

    const ROOM: &str = "project:a/b";

    fn devices(store: &Memory) -> DeviceRegistry {
        let expire_after = Duration::from_secs(3_600);
        let journal = Journal::new(Arc::new(store.clone()), &tokio::runtime::Handle::current());
        let bounds =
            DeviceBounds { max_per_user: 2, max_per_address: 2, max_devices: 3, max_rooms: 2, expire_after };
        DeviceRegistry::new(journal, bounds)
    }

    fn request(user: &str, token: &str) -> RegistrationRequest {
        RegistrationRequest {
            user_id: user.to_owned(),
            address: None,
            provider: "fcm",
            target: PushTarget::Token(token.to_owned()),
            language: None,
            rooms: vec![ROOM.to_owned()],
        }
    }

    async fn entries(devices: &DeviceRegistry) -> Vec<RoomRegistration> {
        devices.page_of_room(ROOM, "fcm", None, 100).await.unwrap().registrations
    }

    #[tokio::test]
    async fn an_answer_about_one_registration_does_not_affect_the_next() {
        let store = Memory::new();
        let (first, second) = (devices(&store), devices(&store));
        first.register(request("alice", "t")).await.unwrap();
        let before = entries(&first).await.pop().unwrap();
        second.register(request("alice", "t")).await.unwrap();
        assert!(!first.forget(&before.id, None).await.unwrap());
        first.suspend(&before.id).await.unwrap();
        let now = entries(&first).await;
        assert_eq!(now.len(), 1);
        assert!(first.current(&now[0], ROOM).await.unwrap().is_some());
        assert!(first.forget(&now[0].id, None).await.unwrap());
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_device_belongs_to_the_user_who_registered_it_last() {
        let devices = devices(&Memory::new());
        devices.register(request("alice", "t")).await.unwrap();
        let alices = entries(&devices).await.pop().unwrap();
        devices.register(request("bob", "t")).await.unwrap();
        assert!(devices.current(&alices, ROOM).await.unwrap().is_none());
        let bobs = entries(&devices).await;
        assert_eq!((bobs.len(), &*bobs[0].user_id), (1, "bob"));
        assert_eq!((devices.forget_user("alice").await, devices.forget_user("bob").await), (Ok(0), Ok(1)));
    }

    #[tokio::test]
    async fn devices_of_a_user_all_devices_and_rooms_are_bounded() {
        let devices = devices(&Memory::new());
        let code = |result: Result<(), Refusal>| result.err().map(|refusal| refusal.code);
        for (user, token, expected) in [
            ("alice", "1", None),
            ("alice", "2", None),
            ("alice", "3", Some(Code::TooMany)),
            ("bob", "3", None),
            ("carol", "4", Some(Code::TooMany)),
            ("carol", "3", None),
        ] {
            assert_eq!(code(devices.register(request(user, token)).await), expected, "{user} {token}");
        }
        let mut more = request("carol", "3");
        more.rooms = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(code(devices.register(more).await), Some(Code::TooMany));
    }

    #[tokio::test]
    async fn anonymous_users_of_an_address_share_a_bound() {
        let store = Memory::new();
        let devices = devices(&store);
        let at = |user: &str, token: &str, address: &str| RegistrationRequest {
            address: Some(address.to_owned()),
            ..request(user, token)
        };
        devices.register(at("anon-1", "1", "a")).await.unwrap();
        devices.register(at("anon-2", "2", "a")).await.unwrap();
        assert_eq!(devices.register(at("anon-3", "3", "a")).await.unwrap_err().code, Code::TooMany);
        // The same device again, and from another address.
        devices.register(at("anon-2", "2", "a")).await.unwrap();
        devices.register(at("anon-2", "2", "b")).await.unwrap();
        devices.register(at("anon-3", "3", "a")).await.unwrap();
        devices.forget_user("anon-1").await.unwrap();
        let [second, third] = [("anon-2", "2"), ("anon-3", "3")].map(|(user, token)| request(user, token));
        for RegistrationRequest { user_id, provider, target, .. } in [second, third] {
            devices.unregister(&user_id, provider, &target, None).await.unwrap();
        }
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_subscription_expires_at_its_expiration_time() {
        let store = Memory::new();
        let devices = devices(&store);
        let mut subscription = PushSubscription::new("https://push.example/1", "", "");
        subscription.expiration_time = Some(1);
        let target = PushTarget::Subscription(subscription);
        devices.register(RegistrationRequest { target, ..request("alice", "") }).await.unwrap();
        devices.sweep().await.unwrap();
        assert_eq!(store.scan("push/", None, 10).await.unwrap(), []);
    }
}
