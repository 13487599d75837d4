//! A model test: random operations, whose results must be those of [`Memory`].

use std::fmt::Debug;

use bytes::Bytes;
use fastrand::Rng;

use super::{
    events::{EPOCH, event},
    pages::by,
    tried::Tried,
};
use crate::store::{AnyStore, Append, Memory, Order, Query, StoreError, StoredEvent, Trim};

pub(super) async fn it_answers_as_memory_does(tried: Tried<'_>) {
    for seed in 1..=20 {
        let mut model = Model::new(seed);
        for _ in 0..60 {
            model.step(&*tried.store).await;
        }
        model.agree(&*tried.store).await;
    }
}

/// The model of a store, and the operations that both were given.
pub(super) struct Model {
    model: Memory,
    random: Rng,
    seed: u64,
    asked: Vec<String>,
}

/// The number of rooms of one seed.
const ROOMS: u64 = 4;

impl Model {
    /// Returns a model. Seeds separate the rooms and records of several models in one store.
    pub(super) fn new(seed: u64) -> Self {
        Model { model: Memory::new(), random: Rng::with_seed(seed), seed, asked: Vec::new() }
    }

    /// Runs a random operation on both.
    pub(super) async fn step(&mut self, store: &dyn AnyStore) {
        match self.random.u8(..10) {
            0..4 => self.append(store).await,
            4 => self.trim(store).await,
            5 if self.random.u8(..3) == 0 => self.remove(store).await,
            5 | 6 => self.put(store).await,
            _ => self.read(store).await,
        }
    }

    /// Compares everything that the store holds.
    pub(super) async fn agree(&mut self, store: &dyn AnyStore) {
        for room in 0..ROOMS {
            let room_id = format!("{}:{room}", self.seed);
            let (got, model) = (store.head(&room_id).await, self.model.head(&room_id).await);
            self.same(&format!("head of {room_id}"), got, model);
            for order in [Order::OldestFirst, Order::NewestFirst] {
                self.pages(store, &room_id, Query::new(order, 50)).await;
            }
            let (got, model) = (store.keys(&room_id, 0).await, self.model.keys(&room_id, 0).await);
            self.same(&format!("keys of {room_id}"), got, model);
        }
        let prefix = format!("{}/", self.seed);
        let (got, model) = (store.scan(&prefix, None, 100).await, self.model.scan(&prefix, None, 100).await);
        self.same("scan", got, model);
    }

    async fn append(&mut self, store: &dyn AnyStore) {
        let mut rooms: Vec<_> = (0..ROOMS).collect();
        self.random.shuffle(&mut rooms);
        rooms.truncate(self.random.usize(1..=3));
        let mut appends = Vec::new();
        for room in rooms {
            let room_id = format!("{}:{room}", self.seed);
            let head = self.model.head(&room_id).await.ok().flatten();
            // The server may believe a log longer than it is, or shorter.
            let wrong = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2][self.random.usize(..10)];
            let next = head.as_ref().map_or(1, |head| head.last.seq + 1);
            let first = if wrong == 1 { next + 1 } else { next.saturating_sub(wrong).max(1) };
            let events = (first..first + self.random.u64(1..6)).map(|seq| self.event(seq)).collect();
            let epoch = head.map_or_else(|| format!("e{}", self.asked.len()).into(), |head| head.epoch);
            appends.push(Append::new(room_id.into(), epoch, events));
        }
        let numbers: Vec<_> = appends
            .iter()
            .map(|append| (&append.room_id, Vec::from_iter(append.events.iter().map(|event| event.seq))))
            .collect();
        let asked = format!("append {numbers:?}");
        let (got, model) = (store.append(appends.clone()).await, self.model.append(appends.clone()).await);
        let verdict = |answer: Result<(), StoreError>| match answer {
            Ok(()) => Ok::<_, StoreError>(vec![true; appends.len()]),
            Err(error) if error.is_conflict() => {
                Ok((0..appends.len()).map(|room| !error.concerns(room)).collect())
            }
            Err(error) => Err(error),
        };
        self.same(&format!("{asked} (which are kept)"), verdict(got), verdict(model));
    }

    fn event(&mut self, seq: u64) -> StoredEvent {
        let key = (self.random.u8(..3) == 0).then(|| format!("key {seq}").into());
        let data = Bytes::from(vec![b'x'; self.random.usize(..40) * self.random.usize(..40)]);
        StoredEvent { key, data, ..event(seq) }
    }

    async fn trim(&mut self, store: &dyn AnyStore) {
        let (room_id, first) = (self.room_id(), self.random.u64(..30));
        // The time may be later than the next event's: a clock may have been wrong for a while.
        let keys_since = super::events::time(self.random.u64(..30));
        let head = self.model.head(&room_id).await.ok().flatten();
        // Now and then, the trim names another epoch.
        let epoch = head.filter(|_| self.random.u8(..8) > 0).map_or_else(|| EPOCH.into(), |head| head.epoch);
        let trim = Trim::new(epoch, first, keys_since);
        let asked = format!("trim {room_id}: {trim:?}");
        let got = store.trim(&room_id, trim.clone()).await;
        let model = self.model.trim(&room_id, trim).await;
        self.same(&asked, got, model);
    }

    async fn remove(&mut self, store: &dyn AnyStore) {
        let room_id = self.room_id();
        let (got, model) = (store.remove(&room_id).await, self.model.remove(&room_id).await);
        self.same(&format!("remove {room_id}"), got, model);
    }

    async fn put(&mut self, store: &dyn AnyStore) {
        let count = self.random.usize(1..4);
        let mut records: Vec<(String, Option<Bytes>)> = Vec::new();
        for _ in 0..count {
            let key = format!("{}/{}", self.seed, self.random.u8(..8));
            let value = (self.random.u8(..3) > 0)
                .then(|| Bytes::from(vec![self.random.u8(..); self.random.usize(..20)]));
            if records.iter().all(|(other, _)| *other != key) {
                records.push((key, value));
            }
        }
        let asked = format!("put {records:?}");
        let (got, model) = (store.put(records.clone()).await, self.model.put(records).await);
        self.same(&asked, got, model);
    }

    async fn read(&mut self, store: &dyn AnyStore) {
        let room_id = self.room_id();
        let maybe = |random: &mut Rng, bound: u64| (random.u8(..3) == 0).then(|| random.u64(..bound));
        let order = if self.random.bool() { Order::OldestFirst } else { Order::NewestFirst };
        let mut query = Query::new(order, self.random.usize(1..12));
        query.max_bytes = [1, 500, 2_000, 1 << 20][self.random.usize(..4)];
        query.after = maybe(&mut self.random, 30);
        query.before = maybe(&mut self.random, 30);
        query.since = maybe(&mut self.random, 30).map(super::events::time);
        query.until = maybe(&mut self.random, 30).map(super::events::time);
        query.events = (self.random.u8(..4) == 0).then(|| vec!["task-moved".into()]);
        self.pages(store, &room_id, query).await;
    }

    /// Returns all pages of a query, joined: a store may cut them where it likes.
    async fn pages(&mut self, store: &dyn AnyStore, room_id: &str, query: Query) {
        let got = joined(store, room_id, query.clone()).await;
        let model = joined(&self.model, room_id, query.clone()).await;
        self.same(&format!("read all pages of {room_id} ({})", by(&query)), got, model);
    }

    fn room_id(&mut self) -> String {
        format!("{}:{}", self.seed, self.random.u64(..ROOMS))
    }

    fn same<T: Debug + PartialEq>(
        &mut self,
        asked: &str,
        store: Result<T, StoreError>,
        model: Result<T, StoreError>,
    ) {
        let model = model.expect("a store in memory has no reason to fail");
        match store {
            Ok(store) if store == model => self.asked.push(asked.to_owned()),
            Ok(store) => {
                let before = self.asked.join("\n  ");
                panic!(
                    "asked to {asked}, the store answered\n  {store:?}\nwhere\n  {model:?}\nis right; before, it was asked to\n  {before}"
                )
            }
            Err(error) => panic!("asked to {asked}, the store failed though nothing was wrong: {error}"),
        }
    }
}

async fn joined(
    store: &dyn AnyStore,
    room_id: &str,
    mut query: Query,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut joined = Vec::new();
    for _ in 0..500 {
        let page = store.read(room_id, query.clone()).await?;
        joined.extend(page.events);
        match (page.next, query.order) {
            (None, _) => break,
            (next, Order::OldestFirst) => query.after = next,
            (next, Order::NewestFirst) => query.before = next,
        }
    }
    Ok(joined)
}
