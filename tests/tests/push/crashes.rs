//! A process that ends between an event and what is recorded of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dialogue::{
    Code, Push,
    push::{Provider, PushMessage, PushTarget, SendOutcome},
    store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey, Trim},
};
use dialogue_tests::until;
use serde_json::json;
use tokio::sync::watch;

use crate::{
    Result,
    acme::{Alert, Configured, Patient, Running},
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

/// A provider whose devices are at a service each, but for those called `main`, and are all busy until they are not.
#[derive(Clone, Default)]
struct Services {
    take: Arc<AtomicBool>,
}

impl Provider for Services {
    fn name(&self) -> &'static str {
        "services"
    }

    fn origin(&self, target: &PushTarget) -> Option<String> {
        match target {
            PushTarget::Token(token) if !token.starts_with("main") => {
                Some(format!("https://{token}.example"))
            }
            _ => None,
        }
    }

    async fn send(&self, _: &PushTarget, _: &PushMessage<'_>) -> SendOutcome {
        match self.take.load(Ordering::SeqCst) {
            true => SendOutcome::Delivered,
            false => SendOutcome::Retry { reason: "busy".into(), after: Some(Duration::from_secs(1_800)) },
        }
    }
}

/// A process ends while devices wait for another try, of so many events of a megabyte each; the number of those which the
/// next process delivers, and of those that it gives up.
async fn delivered_after_an_end(devices: &[(&str, u64, u64)]) -> Result<(u64, u64)> {
    let (services, memory) = (Services::default(), Memory::new());
    let store = memory.clone();
    let configure = || async move {
        let configured: Configured = Box::new(|server| server.store(store));
        Ok(configured)
    };
    let doomed = Doomed::start(Push::new().provider(services.clone()), configure).await?;
    let mut events = 0;
    for (device, room, count) in devices {
        let body = json!({ "provider": "services", "token": device, "rooms": [format!("project:{room}")] });
        doomed.running.register_for(device, body).await?;
        for number in 0..*count {
            let alert = Alert { service: format!("{number}"), detail: "x".repeat(1_000_000) };
            doomed.running.server.project(*room).trigger(alert).await?;
            events += 1;
            // Retries hold none of the memory of new events.
            doomed.running.until("services", |counts| counts.retried + counts.expired == events).await?;
        }
    }
    assert_eq!(doomed.running.counts("services").retried, events);
    // Of an event, and of the device.
    let left = async || memory.scan("push/pending/", None, 1_000).await.unwrap_or_default().len() as u64;
    until("all that waits is on record", async || left().await == 2 * events).await?;
    doomed.kill();
    services.take.store(true, Ordering::SeqCst);
    let running =
        Running::with(Push::new().provider(services.clone()), |server| server.store(memory)).await?;
    running.until("services", |counts| counts.delivered + counts.expired == events).await?;
    let counts = running.counts("services");
    Ok((counts.delivered, counts.expired))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_push_that_waits_for_another_try_is_lost_with_its_process() -> Result<()> {
    // Two services hold more together than one may.
    assert_eq!(delivered_after_an_end(&[("one", 1, 5), ("two", 2, 5)]).await?, (10, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_space_at_first_is_gone_on_with_later() -> Result<()> {
    // More than may wait at once in the next process, which has it to do first: 64 MiB.
    let devices = [("one", 1, 5), ("two", 2, 5), ("main-3", 3, 22), ("main-4", 4, 22), ("main-5", 5, 22)];
    assert_eq!(delivered_after_an_end(&devices).await?, (76, 0));
    Ok(())
}
