//! Rooms that aren't in memory.

use std::{sync::atomic::Ordering, time::Duration};

use dialogue::{Code, server::NewRoom};

use crate::{
    Message,
    faulty::{Faulty, Mood},
    serve,
};

#[tokio::test(start_paused = true)]
async fn a_room_that_nobody_is_in_leaves_memory_and_comes_back() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    server.project(7).create(NewRoom::new().name("Apollo")).await.unwrap();
    server.project(7).trigger(Message { text: "kept".into() }).await.unwrap();
    let opened = store.reads.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(server.project(7).describe().await.unwrap().unwrap().name, "Apollo");
    let accepted = server.project(7).trigger(Message { text: "more".into() }).await.unwrap();
    assert_eq!(accepted.seq, Some(2));
    assert!(store.reads.load(Ordering::SeqCst) > opened, "it was in memory still");
}

#[tokio::test]
async fn a_start_reads_no_logs_of_rooms_that_nobody_asks_for() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    for n in 0..500 {
        server.project(n).trigger(Message { text: "there".into() }).await.unwrap();
    }
    drop(server);
    let before = store.reads.load(Ordering::SeqCst);
    let server = serve(store.clone()).await;
    // Rooms without key are opened, and those have no log yet.
    assert_eq!(store.reads.load(Ordering::SeqCst), before);
    assert_eq!(server.project(3).trigger(Message { text: "again".into() }).await.unwrap().seq, Some(2));
}

#[tokio::test]
async fn users_and_the_server_make_a_bounded_number_of_rooms_over_restarts() {
    let store = Faulty::new();
    let bounded =
        || crate::Acme::server().store(store.clone()).max_instances(5).max_created_rooms_per_user(2);
    let by = |user: &str| NewRoom::new().created_by(user);
    let server = bounded().build().await.unwrap();
    server.project(1).create(by("alice")).await.unwrap();
    server.project(2).create(by("alice")).await.unwrap();
    let server = {
        drop(server);
        bounded().build().await.unwrap()
    };
    let third = server.project(3).create(by("alice")).await.unwrap_err();
    assert_eq!(third.code, Code::TooMany);
    for n in 3..=5 {
        server
            .project(n)
            .create(by("bob/"))
            .await
            .or_else(|refusal| (n == 5).then_some(()).ok_or(refusal))
            .unwrap();
    }
    server.project(6).create(NewRoom::new()).await.unwrap();
    let sixth = server.project(7).create(NewRoom::new()).await.unwrap_err();
    assert_eq!(sixth.code, Code::TooMany);
    assert!(server.project(1).delete().await.unwrap());
    server.project(7).create(by("alice")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_room_that_could_not_be_created_can_be_a_moment_later() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    store.be(Mood::Fails);
    let refused = server.project(1).create(NewRoom::new().created_by("alice")).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    store.be(Mood::Well);
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.project(1).create(NewRoom::new().created_by("alice")).await.unwrap();
}

#[tokio::test]
async fn who_tries_to_create_a_room_that_there_is_says_nothing_of_it() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    server.project(1).create(NewRoom::new().name("Apollo").created_by("alice")).await.unwrap();
    drop(server);
    let server = serve(store).await;
    let (project, again) = (server.project(1), server.project(1));
    let mallory = NewRoom::new().name("Mine").created_by("mallory");
    let (refused, described) = tokio::join!(again.create(mallory), project.describe());
    assert_eq!(refused.unwrap_err().code, Code::RoomExists);
    let described = described.unwrap().unwrap();
    assert_eq!((described.name.as_str(), described.created_by.as_deref()), ("Apollo", Some("alice")));
}

#[tokio::test]
async fn a_room_without_a_past_has_none() {
    let server = serve(Faulty::new()).await;
    assert!(server.project(5).history().await.unwrap().events.is_empty());
}

#[tokio::test]
async fn rooms_that_nobody_made_on_purpose_make_place_for_others() {
    let store = Faulty::new();
    let server = crate::Acme::server().store(store.clone()).max_instances(10).build().await.unwrap();
    server.project(1_000).create(NewRoom::new()).await.unwrap();
    for n in 0..9 {
        server.project(n).trigger(Message { text: "passing by".into() }).await.unwrap();
    }
    drop(server);
    let server = crate::Acme::server().store(store.clone()).max_instances(10).build().await.unwrap();
    assert_eq!(server.project(77).trigger(Message { text: "new".into() }).await.unwrap().seq, Some(1));
    assert!(server.project(1_000).describe().await.unwrap().is_some());
    assert!(server.project(0).describe().await.unwrap().is_none());
}

#[tokio::test]
async fn rooms_that_were_left_longest_go_first_whatever_they_hold() {
    let store = Faulty::new();
    let bounded = || crate::Acme::server().store(store.clone()).max_instances(4);
    let server = bounded().build().await.unwrap();
    server.project(1).update(|board| board.tasks.push("plan".into())).await.unwrap();
    for n in 2..=4 {
        server.project(n).trigger(Message { text: "there".into() }).await.unwrap();
    }
    server.project(1).update(|board| board.tasks.push("ship".into())).await.unwrap();
    let server = {
        drop(server);
        bounded().build().await.unwrap()
    };
    server.project(9).trigger(Message { text: "new".into() }).await.unwrap();
    assert!(server.project(2).describe().await.unwrap().is_none(), "it was left longest");
    assert_eq!(server.project(1).state().await.unwrap().state.tasks, ["plan", "ship"]);
}

#[tokio::test]
async fn the_room_that_was_left_longest_is_found_among_all() {
    let store = Faulty::new();
    let bounded = || crate::Acme::server().store(store.clone()).max_instances(120);
    let server = bounded().build().await.unwrap();
    for n in (100..220).rev() {
        server.project(n).trigger(Message { text: "there".into() }).await.unwrap();
    }
    let server = {
        drop(server);
        bounded().build().await.unwrap()
    };
    for n in 0..3 {
        server.project(n).trigger(Message { text: "new".into() }).await.unwrap();
    }
    for n in 100..220 {
        assert_eq!(server.project(n).describe().await.unwrap().is_some(), n < 217, "project:{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_that_was_only_read_in_was_left_later() {
    let server = crate::Acme::server().store(Faulty::new()).max_instances(3).build().await.unwrap();
    for n in 1..=3 {
        server.project(n).trigger(Message { text: "there".into() }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(server.project(1).history().await.unwrap().events.len(), 1);
    tokio::time::sleep(Duration::from_secs(90)).await;
    server.project(9).trigger(Message { text: "new".into() }).await.unwrap();
    assert!(server.project(1).describe().await.unwrap().is_some());
    assert!(server.project(2).describe().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_the_store_fails_is_there_until_it_is_gone() {
    let store = Faulty::new();
    let server = serve(store.clone()).await;
    server.project(1).trigger(Message { text: "there".into() }).await.unwrap();
    store.be(Mood::Fails);
    assert_eq!(server.project(1).delete().await.unwrap_err().code, Code::Unavailable);
    store.be(Mood::Well);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.project(1).history().await.unwrap().events.len(), 1);
    assert!(server.project(1).delete().await.unwrap());
    assert!(server.project(1).history().await.unwrap().events.is_empty());
}
