//! A store in memory: how one is written, and what tests restart servers over.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Append, Head, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim};

/// A [`Store`] in memory: it outlives a server, and not the process. All clones are one store.
///
/// A server that is given no store keeps its logs in memory too, with less ado; this one is for tests that restart a
/// server, and for reading how a store is written.
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
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    logs: HashMap<Arc<str>, Log>,
    records: BTreeMap<String, Bytes>,
}

struct Log {
    epoch: Arc<str>,
    /// Their numbers follow each other; never empty.
    events: VecDeque<StoredEvent>,
    keys: VecDeque<StoredKey>,
}

/// Events that one page looks at, of which a filter may let pass none.
const LOOKED_AT: usize = 2_000;
/// Keys of a room that are told of.
const KEYS: usize = 10_000;

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Memory::default()
    }
}

impl Store for Memory {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let mut kept = self.kept.lock();
        let refused: Vec<_> = appends
            .into_iter()
            .enumerate()
            .filter_map(|(place, append)| (!kept.append(append)).then_some(place))
            .collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(StoreError::conflict("can't append: the log is another").only(refused))
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let kept = self.kept.lock();
        let head = kept.logs.get(room_id).and_then(|log| {
            Some(Head::new(Arc::clone(&log.epoch), log.events.front()?.seq, log.events.back()?.clone()))
        });
        Ok(head)
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        Ok(self.kept.lock().logs.get(room_id).map(|log| log.read(&query)).unwrap_or_default())
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let kept = self.kept.lock();
        let Some(log) = kept.logs.get(room_id) else { return Ok(Vec::new()) };
        let newest = log.keys.iter().skip(log.keys.len().saturating_sub(KEYS));
        Ok(newest.filter(|key| key.timestamp >= since).cloned().collect())
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let mut kept = self.kept.lock();
        if let Some(log) = kept.logs.get_mut(room_id).filter(|log| log.epoch == trim.epoch) {
            log.events.drain(..log.place(trim.first).min(log.events.len().saturating_sub(1)));
            log.keys.retain(|key| key.timestamp >= trim.keys_since);
        }
        Ok(())
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.kept.lock().logs.remove(room_id);
        Ok(())
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut kept = self.kept.lock();
        for (key, value) in records {
            match value {
                Some(value) => kept.records.insert(key, value),
                None => kept.records.remove(&key),
            };
        }
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.kept.lock().records.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let from = after.filter(|after| *after >= prefix).map_or(Bound::Included(prefix), Bound::Excluded);
        let kept = self.kept.lock();
        let found = kept.records.range::<str, _>((from, Bound::Unbounded));
        let found = found.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Kept {
    /// Yields whether the events follow those of the room's log.
    fn append(&mut self, append: Append) -> bool {
        let Append { room_id, epoch, events } = append;
        let next = self.logs.get(&room_id).and_then(|log| log.events.back()).map_or(1, |last| last.seq + 1);
        let fits = events.first().is_some_and(|first| first.seq == next)
            && self.logs.get(&room_id).is_none_or(|log| log.epoch == epoch);
        if fits {
            let log = self.logs.entry(room_id).or_insert_with(|| Log {
                epoch,
                events: VecDeque::new(),
                keys: VecDeque::new(),
            });
            log.keys.extend(events.iter().filter_map(StoredKey::of));
            log.events.extend(events);
        }
        fits
    }
}

impl Log {
    /// The place of the first event whose number is `seq` or more.
    fn place(&self, seq: u64) -> usize {
        self.events.partition_point(|event| event.seq < seq)
    }

    fn read(&self, query: &Query) -> Page {
        let from = query.after.map_or(0, |after| self.place(after.saturating_add(1)));
        let from = from
            .max(query.since.map_or(0, |since| self.events.partition_point(|event| event.timestamp < since)));
        let to = query.before.map_or(self.events.len(), |before| self.place(before));
        let to = to.min(
            query.until.map_or(to, |until| self.events.partition_point(|event| event.timestamp < until)),
        );
        let held = self.events.range(from..to.max(from));
        match query.order {
            Order::OldestFirst => page(held, query),
            Order::NewestFirst => page(held.rev(), query),
        }
    }
}

fn page<'a>(held: impl Iterator<Item = &'a StoredEvent>, query: &Query) -> Page {
    let (mut page, mut size, mut last) = (Page::default(), 0, None);
    for (looked_at, event) in held.enumerate() {
        let admits = query.admits(event.seq, event.timestamp, &event.event);
        let full = page.events.len() >= query.limit || (size >= query.bytes && size > 0);
        if looked_at >= LOOKED_AT {
            page.next = last;
            break;
        }
        if admits && full {
            page.next = page.events.last().map(|last| last.seq);
            break;
        }
        last = Some(event.seq);
        if admits {
            size += event.data.len();
            page.events.push(event.clone());
        }
    }
    page
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("logs", &self.kept.lock().logs.len()).finish_non_exhaustive()
    }
}
