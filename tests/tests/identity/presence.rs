//! Who is there, as the others are told.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use deadline::took;
use serde_json::{Value, json};

use crate::{
    club::House,
    harness::{Result, Socket, soon},
};

fn is_presence(frame: &Value, room: &str, user: &str, change: &str, size: u64) -> bool {
    frame["type"] == "presence"
        && frame["roomId"] == room
        && frame["userId"] == user
        && frame["change"] == change
        && frame["size"] == size
}

#[tokio::test]
async fn others_are_told_once_of_a_user_and_not_of_a_connection() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "lobby").await?;
    let mut stream = house.stream("carol", "lobby").await?;
    let frame = alice.next().await?;
    assert!(is_presence(&frame, "lobby", "carol", "joined", 2), "a stream is a member: {frame}");
    let bob = house.member("bob", "lobby").await?;
    let mut second = house.member("bob", "lobby").await?;
    let frame = alice.next().await?;
    assert!(is_presence(&frame, "lobby", "bob", "joined", 3), "{frame}");
    let mut told = stream.next().await?.ok_or("the stream ended")?;
    if told.1["userId"] == "alice" {
        // She came just before, and was told of just after.
        told = stream.next().await?.ok_or("the stream ended")?;
    }
    let (event, frame) = told;
    assert!(
        event == "dialogue:presence" && is_presence(&frame, "lobby", "bob", "joined", 3),
        "{event} {frame}"
    );
    // One of two goes: that is nothing. The other: that is, after the grace.
    second.ask(json!({ "type": "leave", "id": 1, "roomId": "lobby" })).await?;
    bob.reset()?;
    for frame in [alice.next().await?, stream.next().await?.ok_or("the stream ended")?.1] {
        assert!(is_presence(&frame, "lobby", "bob", "left", 2), "{frame}");
    }
    // Nobody was told of themselves, nor who is in no room that declares it.
    let reply = second.ask(json!({ "type": "listRooms", "id": 2 })).await?;
    assert_eq!(reply["type"], "rooms");
    house.running.stop().await
}

#[tokio::test]
async fn a_reload_shows_nothing() -> Result {
    const GRACE: Duration = Duration::from_secs(1);
    let house = House::open().await?;
    let mut alice = house.member("alice", "foyer").await?;
    let bob = house.member("bob", "foyer").await?;
    assert!(is_presence(&alice.next().await?, "foyer", "bob", "joined", 2));
    let gone = Instant::now();
    bob.reset()?;
    let bob = house.member("bob", "foyer").await?;
    took("a reload", gone.elapsed(), GRACE)?;
    // Longer than the grace: nothing comes, and a later change has the right size.
    let nothing = tokio::time::timeout(GRACE * 3 / 2, alice.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    bob.close().await?;
    assert!(is_presence(&alice.next().await?, "foyer", "bob", "left", 1));
    house.running.stop().await
}

#[tokio::test]
async fn rooms_that_do_not_declare_it_tell_nothing() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let _bob = house.member("bob", "chat").await?;
    let members = alice.ask(json!({ "type": "members", "id": 1, "roomId": "chat" })).await?;
    let listed = json!([{ "userId": "alice", "connections": 1 }, { "userId": "bob", "connections": 1 }]);
    assert_eq!((&members["members"], members["size"].as_u64()), (&listed, Some(2)));
    let nothing = tokio::time::timeout(Duration::from_millis(300), alice.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    house.running.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_ends_in_the_right_picture() -> Result {
    const USERS: usize = 300;
    let house = House::open().await?;
    let mut watcher = house.member("watcher", "lobby").await?;
    let mut crowd = Vec::new();
    for number in 0..USERS {
        crowd.push(house.member(&format!("user-{number}"), "lobby").await?);
    }
    // Half of them go, half of those come back, all at once and before anybody is seen to be gone.
    let mut stayed = Vec::new();
    for (number, socket) in crowd.into_iter().enumerate() {
        if number % 2 == 0 {
            stayed.push(socket);
            continue;
        }
        socket.reset()?;
        if number % 4 == 1 {
            stayed.push(house.member(&format!("user-{number}"), "lobby").await?);
        }
    }
    let there = (0..USERS).filter(|number| number % 4 != 3).map(|number| format!("user-{number}"));
    soon("the right picture", picture(&mut watcher, &there.collect())).await??;
    drop(stayed);
    house.running.stop().await
}

/// Waits until a watcher was told that these are there, and nobody else.
async fn picture(watcher: &mut Socket, expected: &BTreeSet<String>) -> Result {
    let mut there = BTreeSet::new();
    loop {
        let frame = watcher.next().await?;
        let user = frame["userId"].as_str().ok_or_else(|| format!("no presence: {frame}"))?.to_owned();
        match frame["change"].as_str() {
            Some("joined") => assert!(there.insert(user), "twice: {frame}"),
            _ => assert!(there.remove(&user), "who wasn't there: {frame}"),
        }
        // The watcher is one too. While some are still on their way out, they count.
        if frame["size"] == expected.len() + 1 && there == *expected {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_cuts_nobody_who_reads() -> Result {
    const CROWD: usize = 60;
    let house = House::with(|server| server.max_outbox_bytes(2 << 10)).await?;
    let mut watcher = house.member("watcher", "lobby").await?;
    let mut stream = house.stream("viewer", "lobby").await?;
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(house.socket(&format!("user-{number}")).await?);
    }
    for socket in &mut crowd {
        socket.send(json!({ "type": "join", "id": 1, "roomId": "lobby" })).await?;
    }
    let mut told = 0;
    while told < CROWD {
        let (event, frame) = stream.next().await?.ok_or("the stream was cut")?;
        told += usize::from(event == "dialogue:presence" && frame["change"] == "joined");
    }
    let there = (0..CROWD).map(|number| format!("user-{number}")).chain(["viewer".to_owned()]);
    soon("the right picture", picture(&mut watcher, &there.collect())).await??;
    for socket in &mut crowd {
        let left = socket.ask(json!({ "type": "leave", "id": 2, "roomId": "lobby" })).await?;
        assert_eq!(left["type"], "left", "{left}");
    }
    house.running.stop().await
}
