//! A store that does as it is told, and otherwise as one in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dialogue::store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey, Trim};

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    /// It fails, and does nothing.
    Fails,
    /// It is done, and fails then.
    FailsLate,
    /// It takes as long as a disk does.
    Slow,
    /// It never ends.
    Stalls,
    /// It panics, and so does whatever else is asked.
    Panics,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    pub(crate) memory: Memory,
    mood: Arc<AtomicU8>,
    /// How many appends were asked for, and reads.
    pub(crate) appends: Arc<AtomicUsize>,
    pub(crate) reads: Arc<AtomicUsize>,
    /// Reads that are under way, and the most that ever were.
    reading: Arc<AtomicUsize>,
    pub(crate) most_at_once: Arc<AtomicUsize>,
}

/// What a write to a disk takes.
const DISK: Duration = Duration::from_millis(5);

impl Faulty {
    pub(crate) fn new() -> Self {
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        Faulty {
            memory: Memory::new(),
            mood,
            appends: Arc::default(),
            reads: Arc::default(),
            reading: Arc::default(),
            most_at_once: Arc::default(),
        }
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Ordering::SeqCst) == mood as u8
    }

    async fn writes(&self) -> Result<(), StoreError> {
        assert!(!self.is(Mood::Panics), "what a store may do, and shouldn't");
        if self.is(Mood::Slow) {
            tokio::time::sleep(DISK).await;
        }
        if self.is(Mood::Stalls) {
            std::future::pending::<()>().await;
        }
        if self.is(Mood::Fails) { Err(StoreError::new("it fails")) } else { Ok(()) }
    }
}

impl Store for Faulty {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        self.writes().await?;
        self.memory.append(appends).await?;
        if self.is(Mood::FailsLate) { Err(StoreError::new("it fails late")) } else { Ok(()) }
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        assert!(!self.is(Mood::Panics), "what a store may do, and shouldn't");
        self.memory.head(room_id).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let now = self.reading.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        if self.is(Mood::Slow) {
            tokio::time::sleep(DISK).await;
        }
        self.reading.fetch_sub(1, Ordering::SeqCst);
        self.memory.read(room_id, query).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.memory.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.memory.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.writes().await?;
        self.memory.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.writes().await?;
        self.memory.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.memory.scan(prefix, after, limit).await
    }
}
