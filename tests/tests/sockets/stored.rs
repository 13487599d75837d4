//! A server with a store: what clients find when they come back to it, or to the one that took its place.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use dialogue::store::{Append, Head, Memory, Page, Query, Store, StoreError, StoredKey, Trim};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Message, Result, Running, Socket, Stream, ask, seqs, texts, until};

/// More than a room keeps in memory.
const LONG: u64 = 3_000;

/// A store in memory that counts how often events are read from it.
#[derive(Debug, Clone, Default)]
struct Counting {
    memory: Memory,
    reads: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
    /// Of a hundred appends, so many fail without being done, and as many fail after.
    flaky: Arc<AtomicUsize>,
}

impl Store for Counting {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        let (bad, dice) = (self.flaky.load(Ordering::SeqCst), fastrand::usize(..100));
        if self.down.load(Ordering::SeqCst) || dice < bad {
            return Err(StoreError::new("it is down"));
        }
        self.memory.append(appends).await?;
        if dice < 2 * bad { Err(StoreError::new("nobody heard that it was done")) } else { Ok(()) }
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        self.memory.head(room_id).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.memory.read(room_id, query).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.memory.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.memory.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.memory.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<bytes::Bytes>)>) -> Result<(), StoreError> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(StoreError::new("it is down")),
            false => self.memory.put(records).await,
        }
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

async fn start(store: &Counting) -> Result<Running> {
    let store = store.clone();
    Running::with(|server| server.store(store)).await
}

async fn fill(running: &Running, events: u64) -> Result {
    for n in 1..=events {
        running.server.chat().trigger(Message { text: n.to_string() }).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_absence_over_a_restart_misses_nothing() -> Result {
    let store = Counting::default();
    let first = start(&store).await?;
    let member = Socket::join(first.address, "chat").await?;
    let stream = Stream::open(first.address, "room=chat", "").await?;
    let (since, last_id) = (member.since(), stream.last_id.clone());
    member.reset()?;
    stream.reset()?;
    fill(&first, LONG).await?;
    first.stop().await?;

    let second = start(&store).await?;
    let (mut member, joined) = Socket::rejoin(second.address, "chat", since).await?;
    assert_eq!((&joined["resume"], &joined["replay"]), (&json!("complete"), &json!(LONG)));
    second.server.chat().trigger(Message { text: "live".into() }).await?;
    let everything: Vec<_> = (1..=LONG + 1).collect();
    assert_eq!(seqs(&member.events(usize::try_from(LONG)? + 1).await?), everything);
    let mut stream = Stream::open(second.address, "room=chat", &last_id).await?;
    assert_eq!(stream.joined["resume"], "complete");
    assert_eq!(seqs(&stream.events(usize::try_from(LONG)? + 1).await?), everything);
    second.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_whose_event_is_another_is_lost_however_old() -> Result {
    let store = Counting::default();
    let running = start(&store).await?;
    fill(&running, LONG).await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    let page = socket
        .ask(json!({ "type": "getHistory", "id": 1, "roomId": "chat", "before": 11, "limit": 1 }))
        .await?;
    let (event, epoch) = (&page["events"][0], socket.since()["epoch"].clone());
    assert_eq!(event["seq"], 10);
    let since = |id: &Value| json!({ "epoch": epoch, "seq": 10, "eventId": id });
    let (_, joined) = Socket::rejoin(running.address, "chat", since(&event["eventId"])).await?;
    assert_eq!((&joined["resume"], &joined["replay"]), (&json!("complete"), &json!(LONG - 10)));
    let (_, joined) = Socket::rejoin(running.address, "chat", since(&json!("AAAAAAAAAAA"))).await?;
    assert_eq!((&joined["resume"], &joined["replay"]), (&json!("lost"), &json!(0)));
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_comes_back_reads_its_past_once() -> Result {
    const CROWD: usize = 200;
    let store = Counting::default();
    let running = start(&store).await?;
    let since = Socket::join(running.address, "chat").await?.since();
    fill(&running, LONG).await?;
    let before = store.reads.load(Ordering::SeqCst);
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let (address, since) = (running.address, since.clone());
        crowd.spawn(async move {
            let (mut member, _) = Socket::rejoin(address, "chat", since).await?;
            member.events(usize::try_from(LONG)?).await
        });
    }
    for events in crowd.join_all().await {
        assert_eq!(seqs(&events?), (1..=LONG).collect::<Vec<_>>());
    }
    let reads = store.reads.load(Ordering::SeqCst) - before;
    assert!(reads <= 3 * usize::try_from(LONG)? / 256, "{reads} reads for one past");
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_goes_back_to_the_first_event() -> Result {
    let store = Counting::default();
    let running = start(&store).await?;
    fill(&running, LONG).await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let mut request = json!({ "type": "getHistory", "id": 1, "roomId": "chat", "limit": 200 });
        if let Some(before) = before {
            request["before"] = u64::into(before);
        }
        let page = socket.ask(request).await?;
        let events = page["events"].as_array().ok_or("no events")?;
        seen.extend(seqs(events));
        before = seen.last().copied();
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, (1..=LONG).rev().collect::<Vec<_>>());
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_nothing_that_is_kept_has_nothing_read() -> Result {
    let store = Counting::default();
    let running = start(&store).await?;
    fill(&running, LONG).await?;
    for events in [json!([]), json!(["noise"])] {
        let mut socket = Socket::open(running.address).await?;
        let epoch = socket.enter("chat", Value::Null).await?["epoch"].clone();
        socket.ask(json!({ "type": "leave", "id": 1, "roomId": "chat" })).await?;
        let before = store.reads.load(Ordering::SeqCst);
        let since = json!({ "epoch": epoch, "seq": 1, "eventId": "" });
        let join = json!({ "type": "join", "id": 2, "roomId": "chat", "events": events, "since": since });
        assert_eq!(socket.ask(join).await?["replay"], LONG - 1);
        let noise = json!({ "number": 1, "pad": "" });
        socket.ask(json!({ "type": "subscribe", "id": 3, "roomId": "chat", "events": ["noise"] })).await?;
        socket.send(json!({ "type": "trigger", "roomId": "chat", "event": "noise", "data": noise })).await?;
        // What is live comes after the replay.
        assert_eq!(socket.events(1).await?[0]["event"], "noise");
        assert_eq!(store.reads.load(Ordering::SeqCst), before, "events: {events}");
    }
    running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_join_is_told_is_the_same_after_a_restart() -> Result {
    let store = Counting::default();
    let first = start(&store).await?;
    for n in 1..=30 {
        first.server.synced().trigger(Message { text: n.to_string() }).await?;
    }
    let quiet = Socket::join(first.address, "project:5").await?.since();
    first.stop().await?;

    let second = start(&store).await?;
    let mut socket = Socket::open(second.address).await?;
    socket.enter("synced", Value::Null).await?;
    let history = socket.next().await?;
    let events = history["events"].as_array().ok_or("no events")?;
    let expected: Vec<_> = (21..=30).map(|n| n.to_string()).collect();
    assert_eq!(texts(events), expected);
    // Of a room in which nothing was ever said, the store knows nothing: it is the same all the same.
    let (_, joined) = Socket::rejoin(second.address, "project:5", quiet).await?;
    assert_eq!(joined["resume"], "complete");
    second.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_anonymous_users_outlive_the_process() -> Result {
    let store = Counting::default();
    let first = start(&store).await?;
    let (mut socket, token) = Socket::anonymous(first.address, "").await?;
    let say = json!({ "type": "trigger", "id": 1, "roomId": "chat", "event": "message",
                      "data": { "text": "once" }, "key": "k1" });
    socket.enter("chat", Value::Null).await?;
    let said = socket.ask(say.clone()).await?;
    first.stop().await?;

    let second = start(&store).await?;
    let (mut socket, again) = Socket::anonymous(second.address, &token).await?;
    assert_eq!(again, token);
    socket.enter("chat", Value::Null).await?;
    let repeated = socket.ask(say).await?;
    assert_eq!(repeated["duplicate"], true);
    assert_eq!((&repeated["seq"], &repeated["eventId"]), (&said["seq"], &said["eventId"]));
    second.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_that_the_store_is_down_and_when_it_is_not() -> Result {
    let store = Counting::default();
    let running = start(&store).await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    store.down.store(true, Ordering::SeqCst);
    socket.say("chat", "refused").await?;
    let refused = socket.next().await?;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("UNAVAILABLE")));
    let health = async || ask(running.address, "GET", "/health", "").await;
    let (head, body) = health().await?;
    assert!(head.starts_with("HTTP/1.1 503") && body.contains(r#""reason""#), "{head}\n{body}");
    store.down.store(false, Ordering::SeqCst);
    until("the store is back", async || {
        health().await.is_ok_and(|(head, _)| head.starts_with("HTTP/1.1 200"))
    })
    .await?;
    until("the room is back", async || {
        running.server.chat().trigger(Message { text: "after".into() }).await.is_ok()
    })
    .await?;
    assert_eq!(socket.events(1).await?[0]["seq"], 1);
    running.stop().await
}

/// Says `words` one after the other, each until it is accepted; every time under its key.
async fn insist(mut socket: Socket, words: Vec<String>) -> Result {
    socket.enter("chat", Value::Null).await?;
    for word in words {
        let say = json!({ "type": "trigger", "id": word, "roomId": "chat", "event": "message",
                          "data": { "text": word }, "key": word });
        while socket.ask(say.clone()).await?["type"] != "ok" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_store_that_fails_now_and_then_every_event_comes_once_and_in_order() -> Result {
    const SENDERS: usize = 6;
    const EACH: usize = 60;
    let store = Counting::default();
    let running = start(&store).await?;
    let mut member = Socket::join(running.address, "chat").await?;
    store.flaky.store(10, Ordering::SeqCst);
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let words = (0..EACH).map(|n| format!("{sender}.{n}")).collect();
        senders.spawn(insist(Socket::open(running.address).await?, words));
    }
    let events = member.events(SENDERS * EACH).await?;
    senders.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(seqs(&events), (1..=u64::try_from(SENDERS * EACH)?).collect::<Vec<_>>());
    for sender in 0..SENDERS {
        let own: Vec<_> =
            texts(&events).into_iter().filter(|text| text.starts_with(&format!("{sender}."))).collect();
        assert_eq!(own, (0..EACH).map(|n| format!("{sender}.{n}")).collect::<Vec<_>>());
    }
    running.stop().await
}
