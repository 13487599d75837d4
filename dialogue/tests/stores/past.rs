//! What is kept, and for how long; and how it is read.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use dialogue::store::{Memory, Order, Query, Store};

use crate::{
    Acme, AcmeServer, ChatEvent, Message, Note, Vault,
    faulty::{Faulty, Mood},
    say, serve,
};

/// Waits for the store to hold no more than `events` of a room.
async fn trimmed(store: &Memory, room: &str, events: usize) -> Vec<u64> {
    loop {
        let page = store.read(room, Query::new(Order::OldestFirst, usize::MAX)).await.unwrap();
        if page.events.len() <= events {
            return page.events.iter().map(|event| event.seq).collect();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_is_trimmed_to_what_a_room_retains() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    for n in 0..500 {
        server.short().trigger(Message { text: format!("{n}") }).await.unwrap();
        server.small().trigger(Message { text: format!("{n:>100}") }).await.unwrap();
    }
    // A few more than are retained, since not every event trims.
    assert_eq!(trimmed(&store, "short", 40).await.last(), Some(&500));
    assert_eq!(trimmed(&store, "small", 40).await.last(), Some(&500));
    let short = server.short().history().limit(100).await.unwrap();
    assert_eq!(short.events.iter().filter_map(|event| event.seq).min(), Some(481));
    drop(server);
    let server = serve(store).await;
    assert_eq!(server.short().history().limit(100).await.unwrap().events.len(), 20);
}

async fn notes(server: &AcmeServer) -> Vec<String> {
    let page = server.chat().history().only::<Note>().oldest_first().await.unwrap();
    let notes = page.events.into_iter().filter_map(|delivery| match delivery.event {
        ChatEvent::Note(note) => Some(note.text),
        _ => None,
    });
    notes.collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_may_be_kept_for_less_than_its_room_retains() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    for n in 0..6 {
        server.chat().trigger(Note { text: format!("{n}") }).await.unwrap();
        say(&server, "between").await.unwrap();
    }
    assert_eq!(notes(&server).await, ["3", "4", "5"]);
    drop(server);
    let server = serve(store).await;
    assert_eq!(notes(&server).await, ["3", "4", "5"]);
    assert_eq!(crate::said(&server).await.len(), 6);
}

#[tokio::test]
async fn the_past_is_read_by_number_time_and_name() {
    for stored in [false, true] {
        let builder = Acme::server();
        let builder = if stored { builder.store(Memory::new()) } else { builder };
        let server = builder.build().await.unwrap();
        for n in 1..=300 {
            say(&server, format!("{n}")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let middle = SystemTime::now();
        tokio::time::sleep(Duration::from_millis(5)).await;
        server.chat().trigger(Note { text: "late".into() }).await.unwrap();
        let seqs = |page: dialogue::server::HistoryPage<crate::Chat>| {
            page.events.iter().filter_map(|event| event.seq).collect::<Vec<_>>()
        };
        let history = || server.chat().history();
        assert_eq!(seqs(history().since(middle).await.unwrap()), [301]);
        assert_eq!(seqs(history().until(middle).limit(1).await.unwrap()), [300]);
        assert_eq!(seqs(history().after(10).before(13).await.unwrap()), [12, 11]);
        assert_eq!(seqs(history().after(10).oldest_first().limit(2).await.unwrap()), [11, 12]);
        assert_eq!(seqs(history().only::<Note>().await.unwrap()), [301]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_from_the_middle_costs_what_one_from_the_end_does() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    for n in 0..5_000 {
        say(&server, format!("{n}")).await.unwrap();
    }
    let reads = |store: &Faulty| store.reads.load(std::sync::atomic::Ordering::SeqCst);
    for before in [4_999, 2_500, 200] {
        let asked = reads(&store);
        let page = server.chat().history().before(before).limit(100).await.unwrap();
        let seqs: BTreeSet<_> = page.events.iter().filter_map(|event| event.seq).collect();
        assert_eq!(seqs, (before - 100..before).collect());
        assert_eq!(reads(&store) - asked, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_keeps_everything_needs_a_store() {
    let refused = Vault::server().build().await.map(drop).unwrap_err();
    assert!(
        refused.to_string().contains("`audited`") && refused.to_string().contains("`store`"),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn audited_events_are_chained_over_a_restart() {
    let store = Memory::new();
    for n in 0..3 {
        let server = Vault::server().store(store.clone()).build().await.unwrap();
        server.audited().trigger(Message { text: format!("{n}") }).await.unwrap();
    }
    let page = store.read("audited", Query::new(Order::OldestFirst, 10)).await.unwrap();
    let digests: BTreeSet<_> = page.events.iter().filter_map(|event| event.digest).collect();
    assert_eq!(digests.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_rare_is_found_however_far_back() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    for n in 0..4 {
        server.chat().trigger(Note { text: format!("{n}") }).await.unwrap();
    }
    for n in 0..6_000 {
        say(&server, format!("{n}")).await.unwrap();
    }
    assert_eq!(notes(&server).await, ["1", "2", "3"]);
    drop(server);
    let server = serve(store).await;
    assert_eq!(notes(&server).await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn many_who_read_the_past_at_once_do_not_all_ask_the_store() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    for n in 0..1_100 {
        say(&server, format!("{n}")).await.unwrap();
    }
    store.be(Mood::Slow);
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let chat = server.chat();
        readers.spawn(async move { chat.history().before(50).await.map(|page| page.events.len()) });
    }
    assert!(readers.join_all().await.into_iter().all(|read| read == Ok(49)));
    let most = store.most_at_once.load(Ordering::SeqCst);
    assert!((1..=8).contains(&most), "{most} at once");
}

#[tokio::test(start_paused = true)]
async fn a_page_looks_at_a_bounded_number_of_events_and_server_code_sees_no_difference() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    server.chat().trigger(Note { text: "rare".into() }).await.unwrap();
    for n in 0..9_000 {
        say(&server, format!("{n}")).await.unwrap();
    }
    let before = store.reads.load(Ordering::SeqCst);
    let page = server.chat().history().only::<Note>().before(8_000).await.unwrap();
    assert!(page.events.len() == 1 && page.next.is_none());
    let reads = store.reads.load(Ordering::SeqCst) - before;
    assert!((3..=6).contains(&reads), "{reads} reads, each of a bounded number of events");
}

/// A version of the program whose messages are numbers.
mod later {
    #[dialogue::event(name = "message")]
    #[derive(Debug)]
    pub(super) struct Number {
        pub(super) text: u64,
    }

    dialogue::rooms! {
        pub(super) struct Acme;

        short: [Number] via [websocket];
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_its_type_no_longer_reads_is_an_item_of_its_own() {
    let store = Memory::new();
    let server = serve(store.clone()).await;
    server.short().trigger(Message { text: "seven".into() }).await.unwrap();
    drop(server);
    let server = later::Acme::server().store(store).build().await.unwrap();
    server.short().trigger(later::Number { text: 7 }).await.unwrap();
    let page = server.short().history().await.unwrap();
    let seen = page.events.iter().map(|delivery| (delivery.seq, &delivery.event));
    assert!(
        matches!(seen.collect::<Vec<_>>()[..], [(Some(2), later::ShortEvent::Number(number))] if number.text == 7)
    );
    let [unreadable] = &page.unreadable[..] else { panic!("{:?}", page.unreadable) };
    assert_eq!((unreadable.seq, &*unreadable.event, &*unreadable.from), (Some(1), "message", "system"));
    assert_eq!(unreadable.room_id, "short");
}
