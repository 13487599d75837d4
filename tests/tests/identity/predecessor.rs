//! What the TypeScript predecessor did wrong, one test for each.

use serde_json::{Value, json};

use crate::{
    club::{House, token},
    harness::{Message, Result, is_refused, texts},
};

fn say(room: &str, text: &str) -> Value {
    json!({ "type": "trigger", "id": text, "roomId": room, "event": "message", "data": { "text": text } })
}

#[tokio::test]
async fn a_client_is_not_deaf_after_a_reconnect() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let mut bob = house.member("bob", "chat").await?;
    bob.ask(say("chat", "one")).await?;
    alice.events(1).await?;
    let since = alice.since();
    alice.reset()?;
    bob.ask(say("chat", "two")).await?;

    let mut alice = house.socket("alice").await?;
    assert_eq!(alice.enter("chat", since).await?["resume"], "complete");
    bob.ask(say("chat", "three")).await?;
    assert_eq!(texts(&alice.events(2).await?), ["two", "three"]);
    house.running.stop().await
}

#[tokio::test]
async fn a_non_member_neither_triggers_nor_reads_history() -> Result {
    let house = House::open().await?;
    let mut bob = house.member("bob", "chat").await?;
    bob.ask(say("chat", "ours")).await?;
    let mut alice = house.socket("alice").await?;
    for request in [
        say("chat", "mine"),
        json!({ "type": "getHistory", "id": 1, "roomId": "chat" }),
        json!({ "type": "members", "id": 2, "roomId": "chat" }),
        json!({ "type": "subscribe", "id": 3, "roomId": "chat", "events": ["*"] }),
        json!({ "type": "leave", "id": 4, "roomId": "chat" }),
    ] {
        let reply = alice.ask(request).await?;
        assert!(is_refused(&reply, "NOT_IN_ROOM"), "{reply}");
    }
    // Nor once it has left.
    alice.enter("chat", Value::Null).await?;
    alice.ask(json!({ "type": "leave", "id": 5, "roomId": "chat" })).await?;
    assert!(is_refused(&alice.ask(say("chat", "mine")).await?, "NOT_IN_ROOM"));
    // Over HTTP, who may not join may do neither.
    assert_eq!(house.post("alice", "members", "mine").await?.0, 403);
    assert_eq!(house.get("alice", "/rooms/members/history").await?.0, 403);
    let history = bob.ask(json!({ "type": "getHistory", "id": 6, "roomId": "chat" })).await?;
    assert_eq!(texts(history["events"].as_array().ok_or("no events")?), ["ours"]);
    house.running.stop().await
}

#[tokio::test]
async fn a_joiner_whom_a_full_room_refuses_gets_no_history_and_joined_is_not_called() -> Result {
    let house = House::open().await?;
    let mut bob = house.member("bob", "small").await?;
    bob.ask(say("small", "ours")).await?;
    let mut alice = house.socket("alice").await?;
    assert!(is_refused(&alice.enter("small", Value::Null).await?, "ROOM_FULL"));
    bob.ask(say("small", "still ours")).await?;
    // Whatever followed the refusal would be here before the reply.
    alice.send(json!({ "type": "listRooms", "id": 1 })).await?;
    assert_eq!(alice.next().await?["type"], "rooms");
    let (status, refused) = house.get("alice", "/events?room=small").await?;
    assert_eq!((status, &refused["code"]), (409, &json!("ROOM_FULL")));
    alice.close().await?;
    house.running.stop().await?;
    let said = house.diary.of("alice");
    assert!(!said.iter().any(|line| line.starts_with("joined") || line.starts_with("left")), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_is_no_public_user_id() -> Result {
    let house = House::open().await?;
    let mut bob = house.member("bob", "lobby").await?;
    let mut alice = house.member("alice", "lobby").await?;
    alice.ask(say("lobby", "hello")).await?;
    alice.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:1" })).await?;
    let list = json!({ "type": "listRooms", "id": 2 });
    let members = json!({ "type": "members", "id": 3, "roomId": "lobby" });
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.push(bob.next().await?);
    }
    seen.extend([bob.ask(list).await?, bob.ask(members).await?]);
    seen.push(house.get("bob", "/rooms/lobby/history").await?.1);
    let seen = Value::Array(seen).to_string();
    assert!(seen.contains("\"alice\"") && !seen.contains("secret") && !seen.contains(&token("")), "{seen}");
    house.running.stop().await
}

#[tokio::test]
async fn nobody_deletes_a_declared_room_or_another_users() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let mut bob = house.member("bob", "project:1").await?;
    alice.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:2" })).await?;
    let mut replies = Vec::new();
    for room in ["chat", "project:1", "project:2"] {
        let delete = json!({ "type": "deleteRoom", "id": room, "roomId": room });
        replies.push(bob.ask(delete.clone()).await?);
        if room != "project:2" {
            replies.push(alice.ask(delete).await?);
        }
    }
    assert!(replies.iter().all(|reply| is_refused(reply, "PERMISSION_DENIED")), "{replies:?}");
    assert_eq!(alice.ask(say("chat", "still here")).await?["type"], "ok");
    assert_eq!(
        alice.ask(json!({ "type": "deleteRoom", "id": 3, "roomId": "project:2" })).await?["type"],
        "ok"
    );
    house.running.stop().await
}

#[tokio::test]
async fn every_declared_hook_is_called() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    alice.ask(say("chat", "hello")).await?;
    alice.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:1" })).await?;
    alice.ask(json!({ "type": "deleteRoom", "id": 2, "roomId": "project:1" })).await?;
    alice.close().await?;
    house
        .diary
        .says(
            "alice",
            &[
                "connect",
                "before_join chat",
                "joined chat",
                "before_trigger chat message",
                "after_trigger chat message 1 to 1",
                "before_join project:1",
                "room_created project:1 Some(\"1\")",
                "left chat: the client closed",
                "disconnect the client closed",
            ],
        )
        .await?;
    assert_eq!(house.diary.of("project:1"), ["room_deleted"]);
    house.running.stop().await
}

#[tokio::test]
async fn the_left_hook_fires_on_a_disconnect() -> Result {
    let house = House::open().await?;
    house.member("alice", "chat").await?.reset()?;
    let lost = "the connection was lost";
    let (left, gone) = (format!("left chat: {lost}"), format!("disconnect {lost}"));
    house.diary.says("alice", &["connect", "before_join chat", "joined chat", &left, &gone]).await?;
    house.running.stop().await
}

#[tokio::test]
async fn an_error_rejects_its_own_request_and_no_other() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    // All at once: the replies are told apart by nothing but their ids.
    alice.send(say("chat", "first")).await?;
    alice.send(json!({ "type": "join", "id": "second", "roomId": "nowhere" })).await?;
    alice.send(json!({ "type": "subscribe", "roomId": "chat", "events": ["nothing"] })).await?;
    alice.send_text("{\"type\":".to_owned()).await?;
    alice.send(say("chat", "last")).await?;
    let mut replies = Vec::new();
    while replies.len() < 5 {
        let frame = alice.next().await?;
        if frame["type"] != "event" {
            replies.push((frame["id"].as_str().map(str::to_owned), frame["type"].clone()));
        }
    }
    let of = |id: Option<&str>| {
        let own = replies.iter().filter(move |(own, _)| own.as_deref() == id);
        own.map(|(_, kind)| kind.as_str().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(Some("first")), of(Some("second")), of(Some("last"))),
        (vec!["ok"], vec!["error"], vec!["ok"])
    );
    assert_eq!(of(None), ["error", "error"]);
    house.running.server.chat().trigger(Message { text: "all is well".to_owned() }).await?;
    house.running.stop().await
}
