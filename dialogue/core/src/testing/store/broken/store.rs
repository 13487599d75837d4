//! A store with a fault.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::task::yield_now;

use super::{
    super::events::{self, append},
    Fault::{self, *},
};
use crate::store::{
    Append, Head, Memory, Order, Page, Query, Store, StoreError, StoredEvent, StoredKey, Trim,
};

/// [`Memory`] with a fault, if any.
#[derive(Clone)]
pub(super) struct Broken {
    fault: Option<Fault>,
    kept: Memory,
    appends: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
}

impl Broken {
    pub(super) fn new(fault: Option<Fault>) -> Self {
        Broken { fault, kept: Memory::new(), appends: Arc::default(), opened: Arc::default() }
    }

    /// Applies faults that happen when the store is opened again.
    pub(super) async fn open(&self) {
        if self.opened.fetch_add(1, Relaxed) == 0 {
            return;
        }
        match self.fault {
            Some(LosesTheLastCall) => self.rewrite("feed", |events| events.truncate(events.len() - 1)).await,
            Some(ForgetsRemovals) => {
                let _ = self.kept.append(vec![append("chat", events::events(1..=20))]).await;
            }
            Some(ForgetsRecords) => {
                for (key, _) in self.kept.scan("1/", None, 100).await.unwrap_or_default() {
                    let _ = self.kept.put(vec![(key, None)]).await;
                }
            }
            _ => {}
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Rewrites a log, and not atomically.
    async fn rewrite(&self, room_id: &str, change: impl FnOnce(&mut Vec<StoredEvent>)) {
        let Ok(Some(head)) = self.kept.head(room_id).await else { return };
        let all = Query { max_bytes: usize::MAX, ..Query::new(Order::OldestFirst, usize::MAX) };
        let mut events = self.kept.read(room_id, all).await.unwrap_or_default().events;
        let _ = self.kept.remove(room_id).await;
        yield_now().await;
        change(&mut events);
        let _ = self.kept.append(vec![Append::new(room_id.into(), head.epoch, events)]).await;
    }

    fn room_id(&self, room_id: &str) -> Arc<str> {
        match self.fault {
            Some(FoldsCaseOfRooms) => room_id.to_lowercase().into(),
            Some(MixesManyRooms) if room_id.len() > 11 => room_id[..11].into(),
            _ => room_id.into(),
        }
    }

    fn key(&self, key: &str) -> String {
        if self.is(FoldsCaseOfRecords) { key.to_lowercase() } else { key.to_owned() }
    }

    /// Returns the append as the fault changes it; `None` if the store forgets it.
    async fn changed(&self, place: usize, mut append: Append) -> Option<Append> {
        append.room_id = self.room_id(&append.room_id);
        let head = self.kept.head(&append.room_id).await.ok().flatten();
        let next = head.as_ref().map_or(1, |head| head.last.seq + 1);
        let first = append.events[0].seq;
        match self.fault {
            Some(ForgetsMeta) => append.events.iter_mut().for_each(|event| event.meta = None),
            Some(CutsLargeData) => append.events.iter_mut().for_each(|event| event.data.truncate(65_535)),
            Some(AppendsOneRoomOfACall) if place > 0 => return None,
            Some(KeepsTheFirstEventOfACall) => append.events.truncate(1),
            Some(TakesHeldNumbers) if first < next => return None,
            Some(TakesHoles) if first > next => return None,
            Some(TakesAnotherEpoch) => append.epoch = head.map_or(append.epoch, |head| head.epoch),
            Some(RewritesWhenItLikes) => self.rewrite(&append.room_id, |_| {}).await,
            _ => {}
        }
        Some(append)
    }

    /// Returns the error as the fault changes it.
    fn refusal(&self, error: StoreError) -> StoreError {
        match self.fault {
            Some(RefusesHeldNumbersByAnotherError) => StoreError::new("UNIQUE constraint failed"),
            Some(ForgetsWhichConflicted) => StoreError::conflict("somewhere"),
            _ => error,
        }
    }

    /// Refuses or forgets appends before the store sees them; `None` if the fault does neither.
    async fn refused_or_forgotten(&self, appends: &[Append]) -> Option<Result<(), StoreError>> {
        let head = match appends.first() {
            Some(append) => self.kept.head(&append.room_id).await.ok().flatten(),
            None => return self.is(FailsOnNothing).then(|| Err(StoreError::new("empty batch"))),
        };
        let reused = appends[0].events.iter().any(|event| event.seq == 4 && event.key.is_some());
        match self.fault? {
            LosesConcurrentAppends => {
                let before = self.appends.fetch_add(1, Relaxed);
                yield_now().await;
                (self.appends.load(Relaxed) != before + 1).then_some(Ok(()))
            }
            RefusesAKeyAgain => reused.then(|| Err(StoreError::new("UNIQUE constraint failed"))),
            RemembersRemovedNumbers => {
                let removed = &*appends[0].epoch == "another" && head.is_none();
                removed.then(|| Err(StoreError::conflict("number 1 is taken")))
            }
            NumbersFromOneAfterTrimming => {
                let trimmed = head.is_some_and(|head| head.first > 1);
                trimmed.then(|| Err(StoreError::conflict("the numbers don't follow")))
            }
            ForgetsWhereLogsEnd => {
                let forgotten = self.opened.load(Relaxed) > 1;
                forgotten.then(|| Err(StoreError::conflict("the log is empty")))
            }
            _ => None,
        }
    }
}

impl Store for Broken {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        if let Some(outcome) = self.refused_or_forgotten(&appends).await {
            return outcome;
        }
        if self.is(AConflictStopsAll) {
            for (place, append) in appends.iter().enumerate() {
                let next = self.kept.head(&append.room_id).await?.map_or(1, |head| head.last.seq + 1);
                if append.events[0].seq != next {
                    return Err(StoreError::conflict("held").for_rooms([place]));
                }
            }
        }
        let mut changed = Vec::new();
        for (place, append) in appends.into_iter().enumerate() {
            changed.extend(self.changed(place, append).await);
        }
        self.kept.append(changed).await.map_err(|error| self.refusal(error))
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let head = self.kept.head(&self.room_id(room_id)).await?;
        Ok(match (self.fault, head) {
            (Some(InventsAHead), None) => Some(Head::new("".into(), 1, events::event(1))),
            (Some(TellsAWrongFirst), Some(head)) => Some(Head { first: 1, ..head }),
            (_, head) => head,
        })
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        let (room_id, mut asked) = (self.room_id(room_id), query.clone());
        let signed = |bound: Option<u64>| bound.filter(|bound| i64::try_from(*bound).is_ok());
        match self.fault {
            Some(KnowsOneOrder) => asked.order = Order::OldestFirst,
            Some(ReadsAfterInclusively) => asked.after = query.after.map(|after| after.saturating_sub(1)),
            Some(ReadsBeforeInclusively) => {
                asked.before = query.before.map(|before| before.saturating_add(1))
            }
            Some(ReadsUntilInclusively) => asked.until = query.until.map(|until| until.saturating_add(1)),
            Some(ReadsSinceExclusively) => asked.since = query.since.map(|since| since.saturating_add(1)),
            Some(IgnoresNames) => asked.events = None,
            Some(IgnoresTheLimit) => asked.limit = usize::MAX,
            Some(IgnoresBytes) => asked.max_bytes = usize::MAX,
            Some(CountsInI64) => (asked.after, asked.since) = (signed(query.after), signed(query.since)),
            _ => {}
        }
        let mut page = self.kept.read(&room_id, asked).await?;
        let last = page.events.last().map(|last| last.seq);
        let full = page.events.len() == query.limit;
        page.next = match self.fault {
            Some(EndsPagesWithoutNext) => None,
            Some(NeverEndsPages) => page.next.or(last).or(query.after).or(query.before),
            Some(RepeatsAcrossPages) if query.order == Order::OldestFirst => page.next.map(|next| next - 1),
            _ => page.next,
        };
        if self.is(PagesByPlace) && full && query.after.is_some() {
            let first = self.kept.head(&room_id).await?.map_or(1, |head| head.first);
            page.events.drain(..usize::try_from(first - 1).unwrap_or(0).min(page.events.len()));
        }
        Ok(page)
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let since = if self.is(IgnoresSince) { 0 } else { since };
        let mut keys = self.kept.keys(&self.room_id(room_id), since).await?;
        match self.fault {
            Some(TellsKeysNewestFirst) => keys.reverse(),
            Some(TellsOldestKeys) => keys.truncate(9_999),
            Some(TrimsKeysWithEvents) => {
                let first = self.kept.head(room_id).await?.map_or(1, |head| head.first);
                keys.retain(|key| key.seq >= first);
            }
            Some(KeepsKeysOfRemoved) if keys.is_empty() => {
                keys.extend(StoredKey::of(&events::keyed(1, "alice", "k")))
            }
            _ => {}
        }
        Ok(keys)
    }

    async fn trim(&self, room_id: &str, mut trim: Trim) -> Result<(), StoreError> {
        let room_id = self.room_id(room_id);
        let held = self.kept.head(&room_id).await?.map(|head| (head.first, head.last.seq));
        if self.is(NeverTrimsKeys) {
            trim.keys_since = 0;
        }
        let first = trim.first;
        match (self.fault, held) {
            (Some(TrimsTheNewest), Some((_, last))) if first > last => {
                return self.kept.remove(&room_id).await;
            }
            (Some(TrimsOneTooMany), _) => trim.first += 1,
            (Some(TrimsAnotherLog), Some(_)) => trim.epoch = events::EPOCH.into(),
            (Some(TrimsRarely), _) if first.is_multiple_of(7) => return Ok(()),
            (Some(GrowsBackWhenTrimmedAgain), Some((held, _))) if first < held => {
                self.kept.remove(&room_id).await?;
                return self.kept.append(vec![append(&room_id, events::events(1..=10))]).await;
            }
            _ => {}
        }
        self.kept.trim(&room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        if self.is(RemovesByPrefix) {
            for suffix in ["0", "1", "/"] {
                self.kept.remove(&format!("{room_id}{suffix}")).await?;
            }
        }
        self.kept.remove(&self.room_id(room_id)).await
    }

    async fn put(&self, mut records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        records.iter_mut().for_each(|(key, _)| *key = self.key(key));
        match self.fault {
            Some(PutsOneRecordOfACall) => records.truncate(1),
            Some(NeverRemovesRecords) => records.retain(|(_, value)| value.is_some()),
            Some(TakesEmptyForNothing) => {
                records.retain(|(_, value)| value.as_ref().is_some_and(|value| !value.is_empty()))
            }
            _ => {}
        }
        self.kept.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.kept.get(&self.key(key)).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let mut records = self.kept.scan(prefix, after, limit).await?;
        match self.fault {
            Some(ScansByLetters) => records.sort_by_key(|(key, _)| key.to_lowercase()),
            Some(ScansByPattern) if prefix == "a_/" => {
                records.extend(self.kept.scan("ab/", None, limit).await?)
            }
            Some(ScansAfterInclusively) => {
                if let Some((after, value)) = after.zip(match after {
                    Some(after) => self.kept.get(after).await?,
                    None => None,
                }) {
                    records.insert(0, (after.to_owned(), value));
                    records.truncate(limit);
                }
            }
            _ => {}
        }
        Ok(records)
    }

    fn max_concurrent_appends(&self) -> usize {
        match self.fault {
            Some(AllowsNoAppend) => 0,
            Some(LosesConcurrentAppends) => 4,
            _ => 1,
        }
    }
}
