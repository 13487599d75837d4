//! Several servers that share their rooms: one order, whatever is heard or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use dialogue::{
    Code, Delivery,
    backplane::{
        Backplane, Feed, FeedMessage, Local, Member, MembersUpdate, NodeMessages, Publication, Published,
        SharedLogs, SharedMembers, SharedRecords,
    },
    server::NewRoom,
    store::{Append, Head, Order, Page, Query, Store, StoreError, StoredKey, Trim},
    wire::{Id, Position},
};
use parking_lot::Mutex;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Acme, AcmeServer, Message, Noise, said, say};

async fn join(backplane: impl Backplane) -> AcmeServer {
    Acme::server().backplane(backplane).build().await.expect("it can be joined")
}

/// What is said in the chat of a server, from now on.
fn hear(server: &AcmeServer) -> mpsc::UnboundedReceiver<(Option<u64>, String)> {
    let (heard, hearing) = mpsc::unbounded_channel();
    server.chat().on(move |message: Delivery<Message>| {
        let _ = heard.send((message.seq, message.event.text));
        async {}
    });
    hearing
}

async fn next(hearing: &mut mpsc::UnboundedReceiver<(Option<u64>, String)>) -> (u64, String) {
    let (seq, text) = hearing.recv().await.expect("the server is there");
    (seq.expect("it is numbered"), text)
}

#[tokio::test(start_paused = true)]
async fn all_have_one_order() {
    let backplane = Local::new();
    let (one, other) = (join(backplane.clone()).await, join(backplane).await);
    let mut hearing = [hear(&one), hear(&other)];
    let mut saying = JoinSet::new();
    for server in [&one, &other] {
        for text in 0..200 {
            let chat = server.chat();
            saying.spawn(async move { chat.trigger(Message { text: text.to_string() }).await });
        }
    }
    let mut accepted: Vec<_> =
        saying.join_all().await.into_iter().map(|accepted| accepted.unwrap().seq.unwrap()).collect();
    accepted.sort_unstable();
    assert_eq!(accepted, (1..=400).collect::<Vec<_>>());
    for seq in 1..=400 {
        let (here, there) = (next(&mut hearing[0]).await, next(&mut hearing[1]).await);
        assert_eq!((here.0, &here), (seq, &there));
    }
    assert_eq!(said(&one).await, said(&other).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_and_not_kept_takes_no_number() {
    let backplane = Local::new();
    let (one, other) = (join(backplane.clone()).await, join(backplane).await);
    say(&one, "a").await.unwrap();
    assert_eq!(other.chat().trigger(Noise { volume: 1 }).await.unwrap().seq, None);
    say(&other, "b").await.unwrap();
    assert_eq!(said(&one).await, [(1, "a".to_owned()), (2, "b".to_owned())]);
}

/// A backplane of which a server hears no events until it is said to, and as long as it is blind doesn't know how many there
/// are.
#[derive(Clone, Default)]
struct Deaf {
    local: Local,
    hears: Arc<AtomicBool>,
    blind: Arc<AtomicBool>,
    /// Set while records can be read but not written.
    is_read_only: Arc<AtomicBool>,
    /// A log that takes the place of its room's, which is removed once its head is read.
    replacement: Arc<Mutex<Option<Append>>>,
    forwarding: Arc<Mutex<JoinSet<()>>>,
}

#[tokio::test(start_paused = true)]
async fn who_missed_more_than_a_room_retains_begins_again() {
    let deaf = Deaf { blind: Arc::new(true.into()), ..Deaf::default() };
    let (one, other) = (join(deaf.local.clone()).await, join(deaf.clone()).await);
    let (heard, mut hearing) = mpsc::unbounded_channel();
    other.short().on(move |message: Delivery<Message>| {
        let _ = heard.send(message.event.text);
        async {}
    });
    for text in 0..200 {
        one.short().trigger(Message { text: text.to_string() }).await.unwrap();
    }
    // Meanwhile, what the room doesn't retain is dropped.
    sleep(Duration::from_secs(5)).await;
    let accepted = other.short().trigger(Message { text: "is anybody there?".into() }).await.unwrap();
    assert_eq!(accepted.seq, Some(201));
    deaf.blind.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(5)).await;
    other.short().trigger(Message { text: "now".into() }).await.unwrap();
    while hearing.recv().await.expect("the server is there") != "now" {}
}

#[tokio::test(start_paused = true)]
async fn what_nobody_tells_is_found_within_two_seconds() {
    let backplane = Local::new();
    let (one, deaf) =
        (join(backplane.clone()).await, join(Deaf { local: backplane, ..Deaf::default() }).await);
    let mut hearing = hear(&deaf);
    for text in ["a", "b", "c"] {
        say(&one, text).await.unwrap();
    }
    for seq in 1..=3 {
        let heard = timeout(Duration::from_secs(2), next(&mut hearing)).await.expect("in time");
        assert_eq!(heard.0, seq);
    }
    // What it says itself comes behind what it never heard of, too.
    say(&one, "d").await.unwrap();
    assert_eq!(say(&deaf, "e").await.unwrap().seq, Some(5));
    assert_eq!((next(&mut hearing).await.0, next(&mut hearing).await), (4, (5, "e".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn who_has_another_event_than_the_log_takes_nothing_behind_it() {
    // Nobody compares heads, so that it is found by what is told alone.
    let deaf = Deaf { blind: Arc::new(true.into()), ..Deaf::default() };
    let one = join(deaf.clone()).await;
    let mut hearing = hear(&one);
    say(&one, "a").await.unwrap();
    say(&one, "lost").await.unwrap();
    // As a failover sets a log back, which goes on elsewhere then.
    let epoch = deaf.local.head("chat").await.unwrap().unwrap().epoch;
    let first = deaf.local.read("chat", Query::new(Order::OldestFirst, 1)).await.unwrap().events;
    deaf.local.remove("chat").await.unwrap();
    deaf.local.append(vec![Append::new("chat".into(), epoch, first)]).await.unwrap();
    let other = join(deaf.local.clone()).await;
    assert_eq!(say(&other, "kept").await.unwrap().seq, Some(2));
    sleep(Duration::from_millis(1)).await;
    deaf.hears.store(true, Ordering::SeqCst);
    assert_eq!(say(&other, "next").await.unwrap().seq, Some(3));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(say(&one, "after").await.unwrap().seq, Some(4));
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(seq, _)| *seq < 4) {
        heard.push(next(&mut hearing).await);
    }
    let expected = [(1, "a"), (2, "lost"), (4, "after")].map(|(seq, text)| (seq, text.to_owned()));
    assert_eq!(heard, expected, "what is behind another event went to who had this one");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_replaced_while_it_is_read_is_another() {
    let deaf = Deaf { blind: Arc::new(true.into()), ..Deaf::default() };
    let (one, other) = (join(deaf.local.clone()).await, join(deaf.clone()).await);
    let mut hearing = hear(&other);
    say(&other, "a").await.unwrap();
    say(&one, "unheard").await.unwrap();
    let first = deaf.local.read("chat", Query::new(Order::OldestFirst, 1)).await.unwrap().events.remove(0);
    let replacement = (1..=3).map(|seq| {
        let mut event = first.clone();
        (event.seq, event.event_id) = (seq, Id::fresh());
        event
    });
    let replacement = replacement.collect();
    *deaf.replacement.lock() = Some(Append::new("chat".into(), "next".into(), replacement));
    deaf.blind.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(say(&other, "after").await.unwrap().seq, Some(4));
    let heard = [next(&mut hearing).await, next(&mut hearing).await];
    let expected = [(1, "a"), (4, "after")].map(|(seq, text)| (seq, text.to_owned()));
    assert_eq!(heard, expected, "what another log has went to who had this one");
}

#[tokio::test(start_paused = true)]
async fn a_state_loses_no_change() {
    let backplane = Local::new();
    let (one, other) = (join(backplane.clone()).await, join(backplane).await);
    let mut changing = JoinSet::new();
    for task in 0..20 {
        for server in [&one, &other] {
            let project = server.project(7);
            changing
                .spawn(async move { project.update(move |board| board.tasks.push(task.to_string())).await });
        }
    }
    changing.join_all().await.into_iter().for_each(|changed| changed.unwrap());
    let version = one.project(7).update(|board| board.tasks.len()).await.unwrap();
    assert_eq!((version, other.project(7).update(|board| board.tasks.len()).await.unwrap()), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_cant_be_written_shows_in_the_health_of_the_node() {
    let deaf = Deaf { hears: Arc::new(true.into()), ..Deaf::default() };
    let server = join(deaf.clone()).await;
    server.project(7).update(|board| board.tasks.len()).await.unwrap();
    deaf.is_read_only.store(true, Ordering::SeqCst);
    let refused = server.project(7).update(|board| board.tasks.len()).await.unwrap_err();
    assert_eq!((refused.code, server.health().is_ok()), (Code::Unavailable, false));
    deaf.is_read_only.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(2)).await;
    assert!(server.health().is_ok());
    server.project(7).update(|board| board.tasks.len()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_room_is_created_once_and_deleted_everywhere() {
    let backplane = Local::new();
    let (one, other) = (join(backplane.clone()).await, join(backplane).await);
    // Both have it in memory, as a room that nobody created.
    let (here, there) = (one.project(1), other.project(1));
    assert_eq!(there.members().await.unwrap(), Vec::<String>::new());
    here.create(NewRoom::new().name("Apollo")).await.unwrap();
    assert_eq!(there.create(NewRoom::new().name("Gemini")).await.unwrap_err().code, Code::RoomExists);
    assert_eq!(there.describe().await.unwrap().map(|room| room.name).as_deref(), Some("Apollo"));

    there.trigger(Message { text: "lift-off".into() }).await.unwrap();
    assert!(here.delete().await.unwrap());
    let again = there.trigger(Message { text: "again".into() });
    // Whichever comes first, the deletion or the event: the old log is no more.
    if let Ok(accepted) = again.await {
        assert_eq!(accepted.seq, Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_and_a_backplane_are_one_too_many() {
    let built = Acme::server().store(dialogue::store::Memory::new()).backplane(Local::new()).build().await;
    assert!(built.is_err_and(|error| error.to_string().contains("remove the `store`")));
}

impl Backplane for Deaf {}

impl SharedLogs for Deaf {
    async fn publish(&self, node: Id, publications: Vec<Publication>) -> Vec<Result<Published, StoreError>> {
        self.local.publish(node, publications).await
    }

    async fn heads(&self, room_ids: &[Arc<str>]) -> Result<Vec<Option<Position>>, StoreError> {
        match self.blind.load(Ordering::SeqCst) {
            true => Err(StoreError::new("it is blind")),
            false => self.local.heads(room_ids).await,
        }
    }
}

impl SharedMembers for Deaf {
    async fn update_members(&self, node: Id, roll: MembersUpdate) -> Result<bool, StoreError> {
        self.local.update_members(node, roll).await
    }

    async fn members(&self, room_id: &str) -> Result<Vec<Member>, StoreError> {
        self.local.members(room_id).await
    }
}

impl SharedRecords for Deaf {
    async fn compare_and_swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        match self.is_read_only.load(Ordering::SeqCst) {
            true => Err(StoreError::new("it is read-only")),
            false => self.local.compare_and_swap(key, old, new).await,
        }
    }
}

impl NodeMessages for Deaf {
    async fn join(&self, node: Id) -> Result<Feed, StoreError> {
        let mut hears = NodeMessages::join(&self.local, node).await?;
        let follower = hears.follower();
        let (feed, teller) = Feed::new(move |room_id, follow| match follow {
            true => follower.follow(room_id),
            false => follower.unfollow(room_id),
        });
        let hears_events = Arc::clone(&self.hears);
        self.forwarding.lock().spawn(async move {
            while let Some(told) = hears.next().await {
                if hears_events.load(Ordering::SeqCst) || !matches!(told, FeedMessage::Events(_)) {
                    teller.send(told).await;
                }
            }
        });
        Ok(feed)
    }

    async fn send(&self, node: Id, room_id: &str, message: Bytes) -> Result<(), StoreError> {
        self.local.send(node, room_id, message).await
    }
}

impl Store for Deaf {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        self.local.append(appends).await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let head = self.local.head(room_id).await;
        if self.replacement.lock().is_some() {
            self.local.remove(room_id).await?;
        }
        head
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        let page = self.local.read(room_id, query).await;
        let replacement = self.replacement.lock().take();
        if let Some(replacement) = replacement {
            self.local.append(vec![replacement]).await?;
        }
        page
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        self.local.keys(room_id, since).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        self.local.trim(room_id, trim).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        self.local.remove(room_id).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        self.local.put(records).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.local.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.local.scan(prefix, after, limit).await
    }
}
