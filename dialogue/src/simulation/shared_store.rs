//! The store of all nodes, which a failover sets back: the replica that takes over lacks what was written last.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    cluster::backplane::{Local, SharedRecords},
    store::{Store, StoreError},
    wire::Id,
};

/// A backplane in memory that knows its records as they were before.
#[derive(Clone)]
pub(super) struct SharedStore {
    local: Local,
    changes: Arc<Mutex<VecDeque<RecordChange>>>,
    /// The nodes that the others take for alive.
    pub(super) nodes: Arc<Mutex<BTreeSet<Id>>>,
}

/// A change of a record.
struct RecordChange {
    at: Instant,
    key: String,
    before: Option<Bytes>,
}

/// The changes that can be lost.
const MAX_CHANGES: usize = 1_000;

impl SharedStore {
    pub(super) fn new() -> Self {
        SharedStore { local: Local::new(), changes: Arc::default(), nodes: Arc::default() }
    }

    pub(super) async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        for (key, _) in &records {
            self.note_change(key).await?;
        }
        self.local.put(records).await
    }

    pub(super) async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        if self.local.get(key).await? == old {
            self.note_change(key).await?;
        }
        self.local.compare_and_swap(key, old, new).await
    }

    /// Removes a log for ever: a replica that lags behind has all that was written before what it has.
    pub(super) async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.changes.lock().clear();
        self.local.remove(room_id).await
    }

    /// Takes the changes to records back that are no older than `lag`; returns the keys.
    pub(super) async fn lose_records(&self, lag: Duration) -> Result<Vec<String>, StoreError> {
        let mut lost = Vec::new();
        loop {
            let newest = self.changes.lock().pop_back_if(|change| change.at.elapsed() <= lag);
            let Some(RecordChange { key, before, .. }) = newest else { return Ok(lost) };
            self.local.put(vec![(key.clone(), before)]).await?;
            lost.push(key);
        }
    }

    async fn note_change(&self, key: &str) -> Result<(), StoreError> {
        let before = self.local.get(key).await?;
        let mut changes = self.changes.lock();
        changes.push_back(RecordChange { at: Instant::now(), key: key.to_owned(), before });
        if changes.len() > MAX_CHANGES {
            changes.pop_front();
        }
        Ok(())
    }
}

impl Deref for SharedStore {
    type Target = Local;

    fn deref(&self) -> &Local {
        &self.local
    }
}
