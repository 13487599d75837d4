//! What a store that fails costs: named refusals, and nothing else.

use std::{sync::atomic::Ordering, time::Duration};

use dialogue::{
    Code, Delivery,
    store::{Append, Order, Query, Store},
};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    Message, Noise,
    faulty::{Faulty, Mood},
    said, say, serve,
};

/// Longer than the server takes to ask again.
const RECOVERY: Duration = Duration::from_secs(10);

fn numbered(texts: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(texts.iter().map(|text| (*text).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_store_refuses_is_unavailable_and_in_no_log() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    say(&server, "before").await.unwrap();
    store.be(Mood::Fails);
    for _ in 0..3 {
        assert_eq!(say(&server, "never").await.unwrap_err().code, Code::Unavailable);
    }
    store.be(Mood::Well);
    sleep(RECOVERY).await;
    assert_eq!(say(&server, "after").await.unwrap().seq, Some(2));
    assert_eq!(said(&server).await, numbered(&["before", "after"]));
}

#[tokio::test(start_paused = true)]
async fn what_was_done_though_it_failed_is_found_and_delivered() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    let (heard, mut hearing) = mpsc::unbounded_channel();
    server.chat().on(move |message: Delivery<Message>| {
        let _ = heard.send(message.event.text);
        async {}
    });
    say(&server, "before").await.unwrap();
    store.be(Mood::FailsLate);
    assert_eq!(say(&server, "late").await.unwrap_err().code, Code::Unavailable);
    store.be(Mood::Well);
    sleep(RECOVERY).await;
    assert_eq!(say(&server, "after").await.unwrap().seq, Some(3));
    for expected in ["before", "late", "after"] {
        assert_eq!(hearing.recv().await.as_deref(), Some(expected));
    }
    assert_eq!(said(&server).await, numbered(&["before", "late", "after"]));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_nobody_waits_for_it() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    store.be(Mood::Fails);
    assert!(say(&server, "noticed").await.is_err());
    let asked = store.appends.load(Ordering::SeqCst);
    for _ in 0..100 {
        assert!(say(&server, "never").await.is_err());
    }
    assert_eq!(store.appends.load(Ordering::SeqCst), asked);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_kept_goes_on_while_the_store_is_down() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    store.be(Mood::Fails);
    assert!(say(&server, "never").await.is_err());
    assert_eq!(server.chat().trigger(Noise { volume: 3 }).await.unwrap().seq, None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stalls_is_given_up_in_time_and_waited_for_by_few() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    say(&server, "before").await.unwrap();
    store.be(Mood::Stalls);
    // As much as a room lets wait, and more.
    let large = "x".repeat(50_000);
    let mut senders = JoinSet::new();
    for _ in 0..300 {
        let (server, large) = (server.clone(), large.clone());
        senders.spawn(async move { say(&server, large).await });
    }
    let outcomes = tokio::time::timeout(Duration::from_secs(60), senders.join_all()).await.expect("in time");
    assert!(outcomes.into_iter().all(|outcome| outcome.unwrap_err().code == Code::Unavailable));
    store.be(Mood::Well);
    sleep(RECOVERY).await;
    assert_eq!(say(&server, "after").await.unwrap().seq, Some(2));
    assert_eq!(said(&server).await, numbered(&["before", "after"]));
}

#[tokio::test(start_paused = true)]
async fn rooms_that_write_at_one_time_share_each_write() {
    const ROOMS: u64 = 40;
    const EVENTS: usize = 25;
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    for room in 0..ROOMS {
        server.project(room).trigger(Message { text: "opened".into() }).await.unwrap();
    }
    store.be(Mood::Slow);
    let opened = store.appends.load(Ordering::SeqCst);
    let mut writers = JoinSet::new();
    for room in 0..ROOMS {
        let server = server.clone();
        writers.spawn(async move {
            for number in 0..EVENTS {
                server.project(room).trigger(Message { text: number.to_string() }).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    // Who came first doesn't write alone while the others wait: that would be two writes for each event of a room.
    let writes = store.appends.load(Ordering::SeqCst) - opened;
    assert!(writes <= EVENTS + 2, "{writes} writes of {EVENTS} events in each room");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_flushed_is_another_one() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    say(&server, "gone").await.unwrap();
    dialogue::store::Store::remove(&store.memory, "chat").await.unwrap();
    // It notices by what it is refused, and begins anew by itself.
    assert_eq!(say(&server, "refused").await.unwrap_err().code, Code::Unavailable);
    sleep(RECOVERY).await;
    say(&server, "anew").await.unwrap();
    assert_eq!(said(&server).await, numbered(&["anew"]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_has_failed_and_no_more() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    say(&server, "before").await.unwrap();
    store.be(Mood::Panics);
    assert_eq!(say(&server, "never").await.unwrap_err().code, Code::Unavailable);
    let unopened = server.project(1).trigger(Message { text: "never".into() }).await;
    assert_eq!(unopened.unwrap_err().code, Code::Unavailable);
    store.be(Mood::Well);
    sleep(RECOVERY).await;
    assert_eq!(say(&server, "after").await.unwrap().seq, Some(2));
    assert_eq!(server.project(1).trigger(Message { text: "there".into() }).await.unwrap().seq, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_was_set_back_is_called_otherwise_and_handlers_hear_on() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    let (heard, mut hearing) = mpsc::unbounded_channel();
    server.chat().on(move |message: Delivery<Message>| {
        let _ = heard.send(message.event.text);
        async {}
    });
    for text in ["1", "2", "3"] {
        say(&server, text).await.unwrap();
        assert_eq!(hearing.recv().await.as_deref(), Some(text));
    }
    // As a replica that had lagged has it.
    let mut page = store.memory.read("chat", Query::new(Order::OldestFirst, 2)).await.unwrap();
    let epoch = store.memory.head("chat").await.unwrap().unwrap().epoch;
    store.memory.remove("chat").await.unwrap();
    page.events.truncate(2);
    store.memory.append(vec![Append::new("chat".into(), epoch, page.events)]).await.unwrap();
    assert!(say(&server, "refused").await.is_err());
    sleep(RECOVERY).await;
    assert_eq!(say(&server, "3 again").await.unwrap().seq, Some(3));
    assert_eq!(hearing.recv().await.as_deref(), Some("3 again"));
    assert_eq!(said(&server).await, numbered(&["1", "2", "3 again"]));
    let generation = store.memory.get("generation/chat").await.unwrap();
    assert!(generation.is_some(), "the same name for other events");
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_state_that_panics_changes_nothing() {
    for server in [serve(Faulty::new()).await, crate::Acme::server().build().await.unwrap()] {
        let project = server.project(1);
        project.trigger(Message { text: "kept".into() }).await.unwrap();
        project.update(|board| board.tasks.push("kept".into())).await.unwrap();
        let panicked = project.update(|_| panic!("what a change may do, and shouldn't")).await;
        assert_eq!(panicked.unwrap_err().code, Code::Internal);
        assert_eq!(project.state().await.unwrap().state.tasks, ["kept"]);
        assert_eq!(project.history().await.unwrap().events.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_room_that_waits_nobody_notices_that_the_store_was_away() {
    for mood in [Mood::Fails, Mood::FailsLate] {
        let store = Faulty::new();
        let server = serve(store.clone()).await;
        let patient = server.patient();
        patient.trigger(Message { text: "0".into() }).await.unwrap();
        store.be(mood);
        let mut saying = JoinSet::new();
        for text in 1..=5 {
            let patient = patient.clone();
            saying.spawn(async move { patient.trigger(Message { text: text.to_string() }).await });
            sleep(Duration::from_millis(10)).await;
        }
        sleep(RECOVERY).await;
        assert_eq!(patient.trigger(Noise { volume: 1 }).await.unwrap().seq, None);
        store.be(Mood::Well);
        for accepted in saying.join_all().await {
            assert!(!accepted.unwrap().duplicate);
        }
        let kept = patient.history().oldest_first().await.unwrap();
        let seqs: Vec<_> = kept.events.iter().map(|kept| kept.seq).collect();
        assert_eq!(seqs, (1..=6).map(Some).collect::<Vec<_>>(), "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_room_says() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    store.be(Mood::Fails);
    let asked = tokio::time::Instant::now();
    let refused = server.patient().trigger(Message { text: "never".into() }).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!((30..32).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}
