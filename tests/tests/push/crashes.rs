//! A process that ends between an event and what is recorded of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dialogue::{
    Code, Push,
    store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey, Trim},
};
use dialogue_tests::until;
use tokio::sync::watch;

use crate::{
    Result,
    acme::{Configured, Patient, Running},
    delivery::Crow,
    doomed::Doomed,
};

/// What becomes of the first append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// The process ends before it is done.
    EndsBefore,
    /// The process ends once it is done.
    EndsAfter,
    /// It is done, and fails then.
    Fails,
}

/// A store whose process may end with the first append: nothing is written after that.
#[derive(Clone)]
struct Mortal {
    memory: Memory,
    first: First,
    begun: Arc<AtomicBool>,
    dead: watch::Sender<bool>,
}

impl Mortal {
    fn new(first: First) -> Self {
        Mortal { memory: Memory::new(), first, begun: Arc::default(), dead: watch::Sender::new(false) }
    }

    async fn live(&self) {
        if *self.dead.borrow() {
            std::future::pending().await
        }
    }
}

impl Store for Mortal {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.live().await;
        let is_first = !self.begun.swap(true, Ordering::SeqCst);
        if !is_first || self.first != First::EndsBefore {
            self.memory.append(appends).await?;
        }
        if is_first && self.first == First::Fails {
            return Err(StoreError::new("it fails"));
        }
        self.dead.send_replace(is_first);
        self.live().await;
        Ok(())
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.memory.head(room_id).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.memory.read(room_id, query).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.memory.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.live().await;
        self.memory.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.live().await;
        self.memory.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<bytes::Bytes>)>) -> Result<(), StoreError> {
        self.live().await;
        self.memory.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<bytes::Bytes>, StoreError> {
        self.memory.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, bytes::Bytes)>, StoreError> {
        self.memory.scan(prefix, after, limit).await
    }
}

/// A process ends while it puts an event into a room; yields the next one, and what it sends.
async fn after_the_end_of(first: First) -> Result<(Running, Crow, Memory)> {
    let (store, crow) = (Mortal::new(first), Crow::willing());
    let mortal = store.clone();
    let configure = || async move {
        let configured: Configured = Box::new(|server| server.store(mortal));
        Ok(configured)
    };
    let doomed = Doomed::start(Push::new().provider(crow.clone()), configure).await?;
    doomed.running.register("alice", "crow", "a").await?;
    let server = doomed.running.server.clone();
    let said = tokio::spawn(async move { server.alerts().trigger(Patient).await });
    store.dead.subscribe().wait_for(|dead| *dead).await?;
    doomed.kill();
    said.abort();
    let memory = store.memory.clone();
    let second = Running::with(Push::new().provider(crow.clone()), |server| server.store(memory)).await?;
    Ok((second, crow, store.memory))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_in_the_log_is_pushed_by_the_next_process() -> Result<()> {
    let (running, crow, _) = after_the_end_of(First::EndsAfter).await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("a".into(), "Patience".into())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_in_the_log_is_not_pushed() -> Result<()> {
    let (running, crow, memory) = after_the_end_of(First::EndsBefore).await?;
    let left = async || memory.scan("push/pending/", None, 1).await.unwrap_or_default();
    until("nothing is left of it", async || left().await.is_empty()).await?;
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("a".into(), "db is down no answer".into())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_refused_and_is_in_the_log_after_all_is_pushed() -> Result<()> {
    let (store, crow) = (Mortal::new(First::Fails), Crow::willing());
    let running = Running::with(Push::new().provider(crow.clone()), |server| server.store(store)).await?;
    running.register("alice", "crow", "a").await?;
    let refused = running.server.alerts().trigger(Patient).await;
    assert_eq!(refused.err().map(|refusal| refusal.code), Some(Code::Unavailable));
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("a".into(), "Patience".into())]);
    Ok(())
}
