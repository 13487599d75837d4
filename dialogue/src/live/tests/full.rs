//! A server that has reached its bound on rooms.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::{
    Code,
    live::archive::EvictionOutcome,
    store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey, Trim},
};

/// A store in memory that counts its calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Counting {
    memory: Memory,
    calls: Arc<AtomicUsize>,
    scans: Arc<AtomicUsize>,
    /// Milliseconds that a scan takes.
    scan_ms: Arc<AtomicU64>,
    /// Set if scans and removals fail.
    pub(super) broken: Arc<AtomicBool>,
    /// A log that takes the place of its room's once the head of that is read.
    pub(super) replacement: Arc<Mutex<Option<Append>>>,
}

impl Counting {
    fn count(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    fn counted(&self) -> (usize, usize) {
        (self.calls.load(Ordering::SeqCst), self.scans.load(Ordering::SeqCst))
    }
}

impl Store for Counting {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.count();
        self.memory.append(appends).await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.count();
        let head = self.memory.head(room_id).await?;
        let replacement = self.replacement.lock().take();
        if let Some(replacement) = replacement {
            self.memory.remove(room_id).await?;
            self.memory.append(vec![replacement]).await?;
        }
        Ok(head)
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.count();
        self.memory.read(room_id, query).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.count();
        self.memory.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.count();
        self.memory.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.count();
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::new("broken"));
        }
        self.memory.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.count();
        self.memory.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.count();
        self.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.count();
        self.scans.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.scan_ms.load(Ordering::SeqCst))).await;
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::new("broken"));
        }
        self.memory.scan(prefix, after, limit).await
    }
}

/// A server with at most `most` rooms, with or without a store.
struct Full {
    registry: Arc<Registry>,
    spec: Arc<RoomSpec>,
    store: Counting,
}

impl Full {
    async fn new(most: usize, stored: bool) -> Self {
        let spec = Arc::new(room("project", true, RoomOptions::new()));
        let store = Counting::default();
        let archive = stored.then(|| Archive::new(Arc::new(store.clone()), &Handle::current()));
        let rooms = vec![Arc::clone(&spec)];
        // In memory there may be one more for each declaration.
        let most = if stored { most } else { most - rooms.len() };
        let registry = Registry::new(rooms, most, NewRoomBounds::default(), archive, Handle::current());
        registry.open().await.expect("memory can be read");
        Full { registry, spec, store }
    }

    /// Creates a room explicitly.
    async fn create(&self, n: usize, opener: Option<&Opener>) -> Result<(), Code> {
        let created_by = opener.map(|opener| Arc::clone(&opener.user));
        let info = RoomInstanceInfo { created: true, created_by, ..Default::default() };
        let created = self.registry.create(&self.spec, &id(n), info, usize::MAX, opener).await;
        created.map(drop).map_err(|refusal| refusal.code)
    }

    /// Opens a room on behalf of a client.
    async fn enter(&self, n: usize, opener: &Opener) -> Result<(), Code> {
        let instance =
            self.registry.find_or_open(&self.spec, &id(n), Some(opener)).map_err(|refusal| refusal.code)?;
        match instance.barrier().await {
            Some(()) => Ok(()),
            None => Err(instance.failure().map_or(Code::Internal, |refusal| refusal.code)),
        }
    }

    /// Publishes an event in a room on behalf of a client.
    async fn publish(&self, n: usize, opener: &Opener) -> Result<(), Code> {
        let (publish, answer) = event(MESSAGE, "1");
        let code = |refusal: Refusal| refusal.code;
        self.registry.publish(&self.spec, &id(n), publish, Some(opener)).await.map_err(code)?;
        answer.await.expect("an answer").map(drop).map_err(code)?;
        self.quiet(n).await;
        Ok(())
    }

    /// Waits until a room's driver has ended.
    async fn quiet(&self, n: usize) {
        while self.registry.find(&id(n)).is_some_and(|instance| !instance.is_idle()) {
            tokio::task::yield_now().await;
        }
    }

    /// Opens rooms that are new, and expects to be refused each time.
    async fn refused(&self, rooms: std::ops::Range<usize>, opener: &Opener) {
        for n in rooms {
            assert_eq!(self.enter(n, opener).await, Err(Code::TooMany), "room {n}");
        }
    }

    async fn leave(&self, n: usize, client: &Client) {
        let handle = Arc::clone(&client.handle);
        let was_in = self.registry.run(&self.spec, &id(n), move |core| core.remove(&handle, "enough")).await;
        assert_eq!(was_in.ok(), Some(true));
        self.quiet(n).await;
    }

    /// Waits until the empty rooms have left memory, where there is a store.
    async fn unload(&self) {
        tokio::time::sleep(Duration::from_secs(90)).await;
    }

    async fn is_there(&self, n: usize) -> bool {
        self.registry.describe(&self.spec, &id(n)).await.expect("the store answers").is_some()
    }
}

fn id(n: usize) -> String {
    format!("project:{n:05}")
}

pub(super) fn opener(user: &str) -> Opener {
    Opener { user: user.into(), address: None }
}

/// Store calls of a new room that is refused: the room's record, its head, and the epoch of new logs.
const CALLS: usize = 3;
/// Calls of a full scan of a few rooms: two pages of times of last use, and one of rooms.
const SCANS: usize = 3;

#[tokio::test(start_paused = true)]
async fn refused_new_rooms_cost_a_full_store_one_scan_a_second() {
    let full = Full::new(300, true).await;
    for n in 0..300 {
        full.create(n, None).await.expect("there is room");
    }
    let (mallory, epoch) = (opener("mallory"), full.registry.context.epoch.current());
    let before = full.store.counted();
    full.refused(1_000..2_000, &mallory).await;
    let after = full.store.counted();
    let (calls, scans) = (after.0 - before.0, after.1 - before.1);
    assert!(scans <= SCANS && calls <= 1_000 * CALLS + scans, "{calls} calls, {scans} scans");
    tokio::time::advance(Duration::from_secs(1)).await;
    full.refused(2_000..2_100, &mallory).await;
    assert_eq!(full.store.counted().1 - after.1, SCANS);
    // Nothing was evicted, so that the epoch of new logs is unchanged.
    full.registry.context.epoch.read().await.expect("the store answers");
    assert_eq!(full.registry.context.epoch.current(), epoch);
}

#[tokio::test(start_paused = true)]
async fn refused_new_rooms_have_the_instances_scanned_once_a_second() {
    for stored in [true, false] {
        let full = Full::new(20, stored).await;
        let (client, mallory) = (Client::new(1), opener("mallory"));
        for n in 0..20 {
            full.publish(n, &opener("alice")).await.expect("there is room");
            client.join(&full.registry, &id(n), None).await;
        }
        for scans in 1..=3 {
            full.refused(100..300, &mallory).await;
            assert_eq!(full.registry.context.scans.begun.load(Ordering::Relaxed), scans, "stored: {stored}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_becomes_empty_makes_space_at_once() {
    for stored in [true, false] {
        let full = Full::new(20, stored).await;
        let (client, mallory) = (Client::new(1), opener("mallory"));
        for n in 0..20 {
            full.publish(n, &opener("alice")).await.expect("there is room");
            client.join(&full.registry, &id(n), None).await;
        }
        full.refused(100..200, &mallory).await;
        let (epoch, before) = (full.registry.context.epoch.current(), full.store.counted());
        full.leave(7, &client).await;
        assert_eq!(full.publish(200, &mallory).await, Ok(()), "stored: {stored}");
        assert!(!full.is_there(7).await && full.is_there(8).await && full.is_there(200).await);
        assert_eq!(full.store.counted().1, before.1, "all were scanned again");
        full.registry.context.epoch.read().await.expect("the store answers");
        assert_ne!(
            full.registry.context.epoch.current(),
            epoch,
            "what is made in its place would pass for it"
        );
        // It is empty as well, and is evicted for the next.
        assert_eq!(full.publish(201, &mallory).await, Ok(()), "stored: {stored}");
        assert!(!full.is_there(200).await && full.is_there(201).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_many_rooms_makes_space_among_its_own_however_many_are_in_use() {
    for stored in [true, false] {
        let full = Full::new(200, stored).await;
        let (client, mallory) = (Client::new(1), opener("mallory"));
        for n in 0..150 {
            full.publish(n, &mallory).await.expect("there is room");
            if n < 100 {
                client.join(&full.registry, &id(n), None).await;
            }
        }
        for n in 150..200 {
            full.publish(n, &opener("alice")).await.expect("there is room");
        }
        for n in 200..400 {
            assert_eq!(full.publish(n, &mallory).await, Ok(()), "room {n}, stored: {stored}");
        }
        for n in (0..100).chain(150..200) {
            assert!(full.is_there(n).await, "room {n}, stored: {stored}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_reopened_by_another_client_counts_for_that_client() {
    for stored in [true, false] {
        let full = Full::new(40, stored).await;
        let (mallory, alice) = (opener("mallory"), opener("alice"));
        for n in 0..40 {
            full.publish(n, &mallory).await.expect("there is room");
        }
        // The least recently used room is evicted for this one, and then opened anew.
        full.publish(40, &mallory).await.expect("it makes space");
        assert!(!full.is_there(0).await);
        full.publish(0, &alice).await.expect("others go");
        full.unload().await;
        for n in 41..200 {
            full.publish(n, &mallory).await.expect("it makes space");
        }
        assert!(full.is_there(0).await, "stored: {stored}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_with_permanent_rooms_only_costs_the_store_little() {
    let full = Full::new(150, true).await;
    let mallory = opener("mallory");
    for n in 0..150 {
        full.create(n, Some(&mallory)).await.expect("there is room");
    }
    let before = full.store.counted();
    full.refused(1_000..2_000, &mallory).await;
    let calls = full.store.counted().0 - before.0;
    assert!(calls <= 1_000 * CALLS + 150, "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn candidates_that_are_in_use_again_delay_no_new_room() {
    let full = Full::new(1_400, true).await;
    let (client, alice) = (Client::new(1), opener("alice"));
    for n in 0..1_400 {
        full.publish(n, &opener(&format!("m{}", n % 5))).await.expect("there is room");
    }
    full.unload().await;
    // This one causes a full scan, which remembers the least recently used rooms.
    full.publish(2_000, &alice).await.expect("some go");
    client.join(&full.registry, &id(2_000), None).await;
    for n in 0..1_100 {
        if full.is_there(n).await {
            client.join(&full.registry, &id(n), None).await;
        }
    }
    for n in 3_000..3_080 {
        assert_eq!(full.publish(n, &alice).await, Ok(()), "room {n}");
        client.join(&full.registry, &id(n), None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_requests_that_wait_for_a_slow_scan_are_served_by_it() {
    let full = Full::new(300, true).await;
    for n in 0..300 {
        full.create(n, None).await.expect("there is room");
    }
    full.store.scan_ms.store(400, Ordering::SeqCst);
    let (mallory, before) = (opener("mallory"), full.store.counted());
    let entered = futures_util::future::join_all((1_000..1_050).map(|n| full.enter(n, &mallory))).await;
    assert!(entered.iter().all(|one| *one == Err(Code::TooMany)), "{entered:?}");
    assert_eq!(full.store.counted().1 - before.1, SCANS);
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_fails_is_repeated_after_a_second() {
    let full = Full::new(20, true).await;
    for n in 0..20 {
        full.publish(n, &opener("alice")).await.expect("there is room");
    }
    full.unload().await;
    full.store.broken.store(true, Ordering::SeqCst);
    let (mallory, before) = (opener("mallory"), full.store.counted());
    for n in 100..200 {
        assert_eq!(full.enter(n, &mallory).await, Err(Code::Unavailable), "room {n}");
    }
    assert_eq!(full.store.counted().1 - before.1, 1);
    full.store.broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(full.publish(200, &mallory).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn rooms_that_cant_be_evicted_allow_no_further_scan() {
    let full = Full::new(20, false).await;
    let (client, mallory) = (Client::new(1), opener("mallory"));
    for n in 0..2 {
        full.create(n, None).await.expect("there is room");
    }
    for n in 2..20 {
        full.publish(n, &opener("alice")).await.expect("there is room");
        client.join(&full.registry, &id(n), None).await;
    }
    for k in 1_000..1_010 {
        full.refused(k..k + 1, &mallory).await;
        for n in 0..1_030 {
            full.registry.request(&full.spec, &id(n % 2), RoomChange::Barrier).await.expect("it is there");
            full.quiet(n % 2).await;
        }
    }
    assert_eq!(full.registry.context.scans.begun.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_makes_space_among_its_own_however_many_were_created_explicitly() {
    for stored in [true, false] {
        let full = Full::new(300, stored).await;
        let mallory = opener("mallory");
        for n in 0..200 {
            full.create(n, Some(&mallory)).await.expect("there is room");
        }
        for n in 200..300 {
            full.publish(n, &mallory).await.expect("there is room");
        }
        for n in 1_000..1_020 {
            assert_eq!(full.publish(n, &mallory).await, Ok(()), "room {n}, stored: {stored}");
        }
        assert!(full.is_there(0).await && full.is_there(199).await && full.is_there(1_019).await);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_client_s_own_rooms_the_least_recently_used_are_evicted_first() {
    for (stored, unloaded) in [(true, true), (true, false), (false, false)] {
        let full = Full::new(300, stored).await;
        let mallory = opener("mallory");
        for n in 0..300 {
            full.publish(n, &mallory).await.expect("there is room");
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        if unloaded {
            full.unload().await;
        }
        for n in 300..312 {
            full.publish(n, &mallory).await.expect("it makes space");
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        let mut gone = Vec::new();
        for n in 0..312 {
            if !full.is_there(n).await {
                gone.push(n);
            }
        }
        assert!(gone.iter().copied().eq(0..gone.len()), "stored: {stored}, unloaded: {unloaded}: {gone:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_s_reopened_rooms_hide_none_that_can_be_evicted() {
    for (most, free) in [(127, 100..101), (300, 290..300)] {
        let full = Full::new(most, true).await;
        let (client, mallory) = (Client::new(1), opener("mallory"));
        for n in 0..most {
            full.publish(n, &mallory).await.expect("there is room");
        }
        full.unload().await;
        for n in (0..most).filter(|n| !free.contains(n)) {
            client.join(&full.registry, &id(n), None).await;
        }
        for n in 1_000..1_100 {
            assert_eq!(full.publish(n, &mallory).await, Ok(()), "room {n} of {most}");
            if n % 2 == 1 {
                tokio::time::sleep(Duration::from_millis(1_001)).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_s_reopened_rooms_make_space_once_they_are_empty() {
    let full = Full::new(40, true).await;
    let (client, mallory) = (Client::new(1), opener("mallory"));
    for n in 0..40 {
        full.publish(n, &mallory).await.expect("there is room");
    }
    full.unload().await;
    for n in 0..40 {
        client.join(&full.registry, &id(n), None).await;
    }
    full.refused(100..110, &mallory).await;
    full.leave(7, &client).await;
    assert_eq!(full.publish(200, &mallory).await, Ok(()));
    assert!(!full.is_there(7).await && full.is_there(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_changes_while_the_epoch_is_renewed_is_checked_again() {
    let full = Full::new(2, true).await;
    let archive = full.registry.archive().expect("there is a store");
    // The archive of another node.
    let other = Archive::new(Arc::new(full.store.clone()), &Handle::current());
    for n in 0..2 {
        full.publish(n, &opener("alice")).await.expect("there is room");
    }
    full.unload().await;
    let created = RoomInstanceInfo { created: true, ..Default::default() };
    let (kept, free): (Arc<str>, Arc<str>) = (id(0).into(), id(1).into());
    let renew_epoch = || async { other.add_room(&kept, &created).await.map(|_| true) };
    let outcome = archive.evict_if_unused(&kept, &|_| false, &renew_epoch).await;
    assert_eq!(outcome.expect("the store answers"), EvictionOutcome::Kept);
    let outcome = archive.evict_if_unused(&free, &|_| false, &|| async { Ok(true) }).await;
    assert_eq!(outcome.expect("the store answers"), EvictionOutcome::Evicted);
    assert!(full.is_there(0).await && !full.is_there(1).await);
}
