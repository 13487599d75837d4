//! Users, as server code finds them: all their connections at once.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;

use crate::{
    club::{House, token},
    harness::{Message, Result, Socket, is_refused, soon, texts, until},
};

/// The code and the reason of the close that comes next.
async fn farewell(socket: &mut Socket) -> Result<(Option<u16>, String)> {
    let close = match soon("a close", socket.frames.next()).await? {
        Some(frame) => frame?,
        None => return Err("it broke off".into()),
    };
    match close {
        tungstenite::Message::Close(Some(close)) => Ok((Some(close.code.into()), close.reason.to_string())),
        other => Err(format!("{other:?} instead of a close").into()),
    }
}

fn message(text: &str) -> Message {
    Message { text: text.to_owned() }
}

#[tokio::test]
async fn a_user_is_all_its_connections() -> Result {
    let house = House::open().await?;
    let server = &house.running.server;
    let _first = house.member("alice", "chat").await?;
    let mut second = house.member("alice", "chat").await?;
    second.enter("project:7", Value::Null).await?;
    let third = house.stream("alice", "lobby").await?;
    let _bob = house.member("bob", "chat").await?;
    let alice = server.users().get("alice");
    assert_eq!((alice.id(), server.users().count()), ("alice", 2));
    assert_eq!(alice.rooms().await?, ["chat", "lobby", "project:7"]);
    let connections = alice.connections().await?;
    let mut sizes: Vec<_> = connections.iter().map(|connection| connection.rooms.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2]);
    assert!(connections.iter().all(|connection| !connection.client_id.contains("alice")));
    assert!(
        alice.is_in(&server.chat()).await?
            && alice.is_in(&server.project(7)).await?
            && !alice.is_in(&server.project(8)).await?
    );
    assert!(!server.users().get("nobody").is_in(&server.chat()).await?);
    third.reset()?;
    until("the stream is gone", async || alice.connections().await.is_ok_and(|all| all.len() == 2)).await?;
    assert!(!alice.is_in(&server.lobby()).await?);
    house.running.stop().await
}

#[tokio::test]
async fn what_is_sent_to_one_user_reaches_no_other_and_no_log() -> Result {
    let house = House::open().await?;
    let server = &house.running.server;
    let mut first = house.member("alice", "chat").await?;
    let mut second = house.stream("alice", "chat").await?;
    let mut elsewhere = house.member("alice", "lobby").await?;
    let mut bob = house.member("bob", "chat").await?;
    server.chat().trigger(message("to all")).await?;
    let alice = server.users().get("alice");
    assert_eq!(alice.send(&server.chat(), message("to you")).await?, 2);
    assert_eq!(server.users().get("nobody").send(&server.chat(), message("to nobody")).await?, 0);
    server.chat().trigger(message("to all again")).await?;
    let (first, second) = (first.events(3).await?, second.events(3).await?);
    for events in [&first, &second] {
        assert_eq!(texts(events), ["to all", "to you", "to all again"]);
        assert!(events[1].get("seq").is_none() && events[1]["server"] == true, "{}", events[1]);
        assert_eq!((events[0]["seq"].as_u64(), events[2]["seq"].as_u64()), (Some(1), Some(2)));
    }
    assert_eq!(texts(&bob.events(2).await?), ["to all", "to all again"]);
    let history = bob.ask(json!({ "type": "getHistory", "id": 1, "roomId": "chat" })).await?;
    assert_eq!(texts(history["events"].as_array().ok_or("no events")?), ["to all again", "to all"]);
    elsewhere.send(json!({ "type": "leave", "id": 2, "roomId": "lobby" })).await?;
    assert_eq!(elsewhere.next().await?["type"], "left");
    house.running.stop().await
}

#[tokio::test]
async fn a_user_is_put_out_of_all_rooms_and_may_come_back() -> Result {
    let house = House::open().await?;
    let server = &house.running.server;
    let mut first = house.member("alice", "chat").await?;
    first.enter("lobby", Value::Null).await?;
    let mut second = house.member("alice", "chat").await?;
    let mut bob = house.member("bob", "chat").await?;
    let alice = server.users().get("alice");
    alice.leave_all("closing time").await?;
    let mut left = vec![first.next().await?, first.next().await?, second.next().await?];
    left.sort_by_key(|frame| frame["roomId"].to_string());
    assert!(
        left.iter().all(|frame| frame["type"] == "left" && frame["reason"] == "closing time"),
        "{left:?}"
    );
    assert!(left.iter().all(|frame| frame.get("id").is_none()), "{left:?}");
    assert_eq!((alice.rooms().await?.len(), alice.connections().await?.len()), (0, 2));
    bob.ask(json!({ "type": "trigger", "id": 1, "roomId": "chat", "event": "message", "data": { "text": "unheard" } }))
        .await?;
    assert_eq!(first.enter("chat", Value::Null).await?["type"], "joined");
    house.running.stop().await
}

#[tokio::test]
async fn a_user_or_one_connection_is_disconnected_with_the_reason() -> Result {
    let house = House::open().await?;
    let users = house.running.server.users();
    let mut one = house.socket("alice").await?;
    let only = users.get("alice").connections().await?.remove(0).client_id;
    let mut other = house.socket("alice").await?;
    let mut stream = house.stream("alice", "chat").await?;
    let mut bob = house.socket("bob").await?;
    assert!(!users.get("bob").disconnect_one(&only, "not yours").await?);
    assert!(users.get("alice").disconnect_one(&only, "one is enough").await?);
    assert_eq!(farewell(&mut one).await?, (Some(4403), "one is enough".to_owned()));
    until("it is gone", async || users.get("alice").connections().await.is_ok_and(|all| all.len() == 2))
        .await?;
    assert_eq!(users.get("alice").disconnect("that was all").await?, 2);
    assert_eq!(farewell(&mut other).await?, (Some(4403), "that was all".to_owned()));
    while stream.next().await?.is_some() {}
    until("all are gone", async || users.count() == 1).await?;
    assert_eq!(bob.ask(json!({ "type": "listRooms", "id": 1 })).await?["type"], "rooms");
    house.running.stop().await
}

#[tokio::test]
async fn connections_of_a_user_are_bounded() -> Result {
    let house = House::with(|server| server.max_connections_per_user(2)).await?;
    let _first = house.socket("alice").await?;
    let second = house.stream("alice", "chat").await?;
    let (frames, code) = house.knock(&token("alice")).await?.rest().await?;
    assert!(is_refused(&frames[0], "TOO_MANY") && code == Some(4403), "{frames:?} {code:?}");
    let (status, body) = house.get("alice", "/events?room=chat").await?;
    assert!(status == 409 && is_refused(&body, "TOO_MANY"), "{status} {body}");
    // Others have their own, and a place is free once it is left.
    let _bob = house.socket("bob").await?;
    second.reset()?;
    let users = house.running.server.users();
    until("a place is free", async || users.get("alice").connections().await.is_ok_and(|all| all.len() == 1))
        .await?;
    house.socket("alice").await?.close().await?;
    house.running.stop().await
}

#[tokio::test]
async fn who_breaks_off_while_the_application_thinks_takes_no_place() -> Result {
    let house = House::open().await?;
    let users = house.running.server.users();
    let path = "/events?room=chat";
    let wire = crate::harness::connect(house.address()).await?;
    let headers = crate::club::bearer(&token("patient"));
    let opening = crate::harness::Stream::with(wire, path, "", &headers);
    // The hook never answers.
    let asked = house.diary.says("patient", &["connect"]);
    tokio::select! {
        _ = opening => return Err("it was let in".into()),
        asked = asked => asked?,
    }
    until("nobody is there", async || users.count() == 0).await?;
    house.running.stop().await
}
