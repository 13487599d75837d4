//! A store in memory, for tests that restart a server, and as an example of an implementation.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Append, Head, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim};

/// A [`Store`] in memory: it outlives a server, but not the process. All clones share one store.
///
/// A server without a store keeps its logs in memory too, at a lower cost; this store is for tests that restart a
/// server, and an example of an implementation.
///
/// ```
/// use dialogue::store::Memory;
///
/// #[dialogue::event]
/// pub struct Message { pub text: String }
///
/// dialogue::rooms! { pub struct Acme; chat: [Message] via [websocket]; }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Memory::new();
/// for seq in 1..=2 {
///     let server = Acme::server().store(store.clone()).build().await?;
///     let accepted = server.chat().trigger(Message { text: "I was here".into() }).await?;
///     assert_eq!(accepted.seq, Some(seq));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
}

#[derive(Default)]
struct Contents {
    logs: HashMap<Arc<str>, MemoryLog>,
    records: BTreeMap<String, Bytes>,
}

struct MemoryLog {
    epoch: Arc<str>,
    /// The events, with consecutive numbers; never empty.
    events: VecDeque<StoredEvent>,
    keys: VecDeque<StoredKey>,
}

/// The maximum number of events that one page examines, also if a filter selects none of them.
const MAX_EXAMINED_EVENTS: usize = 2_000;
/// The maximum number of keys that are returned for a room.
const MAX_KEYS: usize = 10_000;

impl Memory {
    /// Returns an empty store.
    pub fn new() -> Self {
        Memory::default()
    }

    /// Returns the newest key of a room of which `event` is a retry.
    pub(crate) fn key_retried_by(&self, room_id: &str, event: &StoredEvent) -> Option<StoredKey> {
        let contents = self.contents.lock();
        let mut newest = contents.logs.get(room_id)?.keys.iter().rev().take(MAX_KEYS);
        newest.find(|key| key.is_retried_by(event)).cloned()
    }

    /// Drops the newest events of a room, as a failover to a replica that lags behind does; returns them.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn lose_tail(&self, room_id: &str, events: usize) -> Vec<StoredEvent> {
        let mut contents = self.contents.lock();
        let Some(log) = contents.logs.get_mut(room_id) else { return Vec::new() };
        let lost = log.events.split_off(log.events.len().saturating_sub(events));
        log.keys.retain(|key| !lost.iter().any(|event| event.seq == key.seq));
        if log.events.is_empty() {
            contents.logs.remove(room_id);
        }
        lost.into()
    }
}

impl Store for Memory {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let mut contents = self.contents.lock();
        let conflicts: Vec<_> = appends
            .into_iter()
            .enumerate()
            .filter_map(|(index, append)| (!contents.append(append)).then_some(index))
            .collect();
        if conflicts.is_empty() {
            return Ok(());
        }
        Err(StoreError::conflict("can't append: the log has another epoch or other events")
            .for_rooms(conflicts))
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let contents = self.contents.lock();
        let head = contents.logs.get(room_id).and_then(|log| {
            Some(Head::new(Arc::clone(&log.epoch), log.events.front()?.seq, log.events.back()?.clone()))
        });
        Ok(head)
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        Ok(self.contents.lock().logs.get(room_id).map(|log| log.read(&query)).unwrap_or_default())
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let contents = self.contents.lock();
        let Some(log) = contents.logs.get(room_id) else { return Ok(Vec::new()) };
        let newest = log.keys.iter().skip(log.keys.len().saturating_sub(MAX_KEYS));
        Ok(newest.filter(|key| key.timestamp >= since).cloned().collect())
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let mut contents = self.contents.lock();
        if let Some(log) = contents.logs.get_mut(room_id).filter(|log| log.epoch == trim.epoch) {
            log.events.drain(..log.index_of(trim.first).min(log.events.len().saturating_sub(1)));
            log.keys.retain(|key| key.timestamp >= trim.keys_since);
        }
        Ok(())
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.contents.lock().logs.remove(room_id);
        Ok(())
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut contents = self.contents.lock();
        for (key, value) in records {
            match value {
                Some(value) => contents.records.insert(key, value),
                None => contents.records.remove(&key),
            };
        }
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.contents.lock().records.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let contents = self.contents.lock();
        let found = contents.records.range::<str, _>((from, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Contents {
    /// Appends events if they continue the room's log, and returns whether they do.
    fn append(&mut self, append: Append) -> bool {
        let Append { room_id, epoch, events } = append;
        let next = self.logs.get(&room_id).and_then(|log| log.events.back()).map_or(1, |last| last.seq + 1);
        let continues = events.first().is_some_and(|first| first.seq == next)
            && self.logs.get(&room_id).is_none_or(|log| log.epoch == epoch);
        if continues {
            let log = self.logs.entry(room_id).or_insert_with(|| MemoryLog {
                epoch,
                events: VecDeque::new(),
                keys: VecDeque::new(),
            });
            log.keys.extend(events.iter().filter_map(StoredKey::of));
            log.events.extend(events);
        }
        continues
    }
}

impl MemoryLog {
    /// Returns the index of the first event whose number is at least `seq`.
    fn index_of(&self, seq: u64) -> usize {
        self.events.partition_point(|event| event.seq < seq)
    }

    fn read(&self, query: &Query) -> Page {
        let from = query.after.map_or(0, |after| self.index_of(after.saturating_add(1)));
        let from = from
            .max(query.since.map_or(0, |since| self.events.partition_point(|event| event.timestamp < since)));
        let to = query.before.map_or(self.events.len(), |before| self.index_of(before));
        let to = to.min(
            query.until.map_or(to, |until| self.events.partition_point(|event| event.timestamp < until)),
        );
        let candidates = self.events.range(from..to.max(from));
        match query.order {
            Order::OldestFirst => page(candidates, query),
            Order::NewestFirst => page(candidates.rev(), query),
        }
    }
}

fn page<'a>(candidates: impl Iterator<Item = &'a StoredEvent>, query: &Query) -> Page {
    let (mut page, mut size, mut last) = (Page::default(), 0, None);
    for (examined, event) in candidates.enumerate() {
        let matches = query.matches(event.seq, event.timestamp, &event.event);
        let full = page.events.len() >= query.limit || (size >= query.max_bytes && size > 0);
        if examined >= MAX_EXAMINED_EVENTS {
            page.next = last;
            break;
        }
        if matches && full {
            page.next = page.events.last().map(|last| last.seq);
            break;
        }
        last = Some(event.seq);
        if matches {
            size += event.data.len();
            page.events.push(event.clone());
        }
    }
    page
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("logs", &self.contents.lock().logs.len()).finish_non_exhaustive()
    }
}
