//! A process that ends between an event and what is recorded of it.

use dialogue::{
    Push,
    store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey},
};
use tokio::sync::watch;

use crate::{
    Result,
    acme::{Configured, Patient, Running},
    delivery::Crow,
    doomed::Doomed,
};

/// When a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    BeforeAppend,
    AfterAppend,
}

/// A store whose process ends with the first append: nothing is written after that.
#[derive(Clone)]
struct Mortal {
    memory: Memory,
    ends: Ends,
    dead: watch::Sender<bool>,
}

impl Mortal {
    fn new(ends: Ends) -> Self {
        Mortal { memory: Memory::new(), ends, dead: watch::Sender::new(false) }
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
        if self.ends == Ends::AfterAppend {
            self.memory.append(appends).await?;
        }
        self.dead.send_replace(true);
        std::future::pending().await
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

    async fn trim(&self, room_id: &str, first: u64, keys_since: u64) -> Result<(), StoreError> {
        self.live().await;
        self.memory.trim(room_id, first, keys_since).await
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
async fn after_the_end_of(ends: Ends) -> Result<(Running, Crow, Memory)> {
    let (store, crow) = (Mortal::new(ends), Crow::willing());
    let mortal = store.clone();
    let configure = || async move {
        let configured: Configured = Box::new(|server| server.store(mortal));
        Ok(configured)
    };
    let first = Doomed::start(Push::new().provider(crow.clone()), configure).await?;
    first.running.register("alice", "crow", "a").await?;
    let server = first.running.server.clone();
    let said = tokio::spawn(async move { server.alerts().trigger(Patient).await });
    store.dead.subscribe().wait_for(|dead| *dead).await?;
    first.kill();
    said.abort();
    let memory = store.memory.clone();
    let second = Running::with(Push::new().provider(crow.clone()), |server| server.store(memory)).await?;
    Ok((second, crow, store.memory))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_in_the_log_is_pushed_by_the_next_process() -> Result<()> {
    let (running, crow, _) = after_the_end_of(Ends::AfterAppend).await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("a".into(), "Patience".into())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_not_in_the_log_is_not_pushed() -> Result<()> {
    let (running, crow, memory) = after_the_end_of(Ends::BeforeAppend).await?;
    while !memory.scan("push/pending/", None, 1).await?.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.alert("db").await?;
    running.until("crow", |counts| counts.delivered == 1).await?;
    assert_eq!(crow.sent(), [("a".into(), "db is down no answer".into())]);
    Ok(())
}
