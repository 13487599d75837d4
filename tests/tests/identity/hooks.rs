//! Each hook is called exactly when it says, in order, with the right reason.

use std::time::{Duration, Instant};

use deadline::took;
use dialogue::server::NewRoom;
use serde_json::{Value, json};

use crate::{
    club::{House, bearer, get, knock, token},
    harness::{Message, Result, Socket, is_refused},
};

fn trigger(room: &str, text: &str) -> Value {
    json!({ "type": "trigger", "id": text, "roomId": room, "event": "message", "data": { "text": text } })
}

#[tokio::test]
async fn a_connect_that_is_refused_is_turned_away_and_never_disconnects() -> Result {
    let house = House::open().await?;
    let mut banned = house.knock(&token("banned")).await?;
    let (frames, code) = banned.rest().await?;
    assert!(frames.len() == 1 && is_refused(&frames[0], "BLOCKED"), "{frames:?}");
    assert_eq!((code, frames[0]["message"].as_str()), (Some(4403), Some("not you again")));

    // By a token in the first frame too.
    let mut late = Socket::knock(crate::harness::connect(house.address()).await?, "/ws", ("", "")).await?;
    late.send(json!({ "type": "auth", "id": 1, "token": token("banned") })).await?;
    let (frames, code) = late.rest().await?;
    assert!(
        frames.len() == 1 && is_refused(&frames[0], "BLOCKED") && code == Some(4403),
        "{frames:?} {code:?}"
    );

    let (status, body) = house.get("banned", "/events?room=chat").await?;
    assert!(status == 422 && is_refused(&body, "BLOCKED"), "{status} {body}");
    let (status, body) = house.get("fuse-connect", "/events?room=chat").await?;
    assert!(status == 500 && is_refused(&body, "INTERNAL"), "{status} {body}");
    assert_eq!(house.running.server.users().count(), 0);
    let diary = house.diary.clone();
    house.running.stop().await?;
    diary.says("banned", &["connect"; 3]).await
}

#[tokio::test]
async fn disconnect_is_called_once_with_the_reason() -> Result {
    let house = House::open().await?;
    house.socket("polite").await?.close().await?;
    house.socket("crashed").await?.reset()?;
    let mut kicked = house.socket("kicked").await?;
    house.running.server.users().get("kicked").disconnect("enough").await?;
    assert_eq!(kicked.rest().await?.1, Some(4403));
    let began = Instant::now();
    let greeted = house.knock("expired//1000/secret").await?.greeted().await;
    took("a greeting before the token expires", began.elapsed(), Duration::from_secs(1))?;
    let mut expired = greeted?;
    assert_eq!(expired.rest().await?.1, Some(4401));
    let mut rude = house.socket("rude").await?;
    rude.send_text("x".repeat(70_000)).await?;
    assert_eq!(rude.rest().await?.1, Some(1009));
    house.stream("reader", "chat").await?.reset()?;
    house.diary.says("polite", &["connect", "disconnect the client closed"]).await?;
    house.diary.says("crashed", &["connect", "disconnect the connection was lost"]).await?;
    house.diary.says("kicked", &["connect", "disconnect removed by the server"]).await?;
    house.diary.says("expired", &["connect", "disconnect the token expired"]).await?;
    house.diary.says("rude", &["connect", "disconnect broke the protocol"]).await?;
    let reader = [
        "connect",
        "before_join chat",
        "joined chat",
        "left chat: the connection was lost",
        "disconnect the connection was lost",
    ];
    house.diary.says("reader", &reader).await?;
    let diary = house.diary.clone();
    house.running.stop().await?;
    for user in ["polite", "crashed", "kicked", "expired", "rude"] {
        assert_eq!(diary.of(user).len(), 2);
    }
    diary.says("reader", &reader).await
}

#[tokio::test]
async fn a_drain_ends_when_the_hooks_have_been_told() -> Result {
    let house = House::open().await?;
    let mut slow = house.member("slow", "chat").await?;
    let mut stream = house.stream("reader", "chat").await?;
    let (diary, running) = (house.diary, house.running);
    let read = async {
        while stream.next().await?.is_some() {}
        slow.rest().await
    };
    let (stopped, read) = tokio::join!(running.stop(), read);
    stopped?;
    assert_eq!(read?.1, Some(1012));
    // At once: a process would have ended.
    let going = "the node is draining";
    for user in ["slow", "reader"] {
        assert_eq!(
            diary.of(user)[2..],
            ["joined chat", &format!("left chat: {going}"), &format!("disconnect {going}")]
        );
    }
    Ok(())
}

#[tokio::test]
async fn before_join_refuses_with_its_reason_wherever_somebody_would_get_in() -> Result {
    let house = House::open().await?;
    let mut alice = house.socket("alice").await?;
    let refused = alice.enter("vault", Value::Null).await?;
    assert!(
        is_refused(&refused, "JOIN_DENIED") && refused["message"] == "only keepers may enter",
        "{refused}"
    );
    let answers = [
        house.get("alice", "/events?room=vault").await?,
        house.get("alice", "/events?room=chat&room=vault").await?,
        house.get("alice", "/rooms/vault/history").await?,
        house.post("alice", "vault", "hello").await?,
    ];
    for (status, body) in answers {
        assert!(status == 403 && is_refused(&body, "JOIN_DENIED"), "{status} {body}");
        assert_eq!(body["message"], "only keepers may enter");
    }
    let mut keeper = house.knock("keeper/keeper//secret").await?;
    keeper.next().await?;
    assert_eq!(keeper.enter("vault", Value::Null).await?["type"], "joined");
    let key = bearer("keeper/keeper//secret");
    let (_, history) = get(house.address(), "/rooms/vault/history", &key).await?;
    assert_eq!(history["events"], json!([]));
    house.running.stop().await
}

#[tokio::test]
async fn joining_again_is_no_joining() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    assert_eq!(alice.enter("chat", Value::Null).await?["type"], "joined");
    assert_eq!(alice.ask(json!({ "type": "leave", "id": 1, "roomId": "chat" })).await?["type"], "left");
    assert_eq!(alice.enter("chat", Value::Null).await?["type"], "joined");
    alice.close().await?;
    let expected = [
        "connect",
        "before_join chat",
        "joined chat",
        "before_join chat",
        "left chat: left",
        "before_join chat",
        "joined chat",
        "left chat: the client closed",
        "disconnect the client closed",
    ];
    house.diary.says("alice", &expected).await?;
    house.running.stop().await
}

#[tokio::test]
async fn left_is_called_once_for_each_joined() -> Result {
    let house = House::open().await?;
    let server = &house.running.server;
    let mut alice = house.member("alice", "chat").await?;
    for room in ["small", "lobby", "project:1"] {
        alice.enter(room, Value::Null).await?;
    }
    server.project(2).create(NewRoom::new().created_by("alice")).await?;
    alice.enter("project:2", Value::Null).await?;
    let user = server.users().get("alice");
    assert!(user.remove_from(&server.chat(), "off topic").await?);
    assert!(!user.remove_from(&server.chat(), "again").await?);
    alice.ask(json!({ "type": "deleteRoom", "id": 1, "roomId": "project:2" })).await?;
    assert!(server.project(1).delete().await?);
    user.leave_all("closing time").await?;
    alice.close().await?;
    let diary = house.diary.clone();
    house.running.stop().await?;
    let lines = diary.of("alice");
    let mut left: Vec<_> = lines.iter().filter(|line| line.starts_with("left")).cloned().collect();
    left.sort_unstable();
    let expected = [
        "left chat: off topic",
        "left lobby: closing time",
        "left project:1: the room was deleted",
        "left project:2: the room was deleted",
        "left small: closing time",
    ];
    assert_eq!(left, expected);
    assert_eq!(lines.iter().filter(|line| line.starts_with("joined")).count(), 5);
    assert_eq!(lines.last().map(String::as_str), Some("disconnect the client closed"));
    Ok(())
}

#[tokio::test]
async fn rooms_that_users_and_server_code_make_and_end_are_told_of() -> Result {
    let house = House::open().await?;
    let server = &house.running.server;
    let mut alice = house.socket("alice").await?;
    alice.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:1" })).await?;
    alice.ask(json!({ "type": "createRoom", "id": 2, "roomId": "project:1" })).await?;
    server.project(2).create(NewRoom::new()).await?;
    server.project(3).create(NewRoom::new().created_by("bob")).await?;
    // A first join makes one too, unannounced.
    alice.enter("project:4", Value::Null).await?;
    let both =
        tokio::join!(alice.ask(json!({ "type": "deleteRoom", "id": 3, "roomId": "project:1" })), async {
            server.project(1).delete().await
        });
    both.0?;
    server.project(2).delete().await?;
    assert!(!server.project(2).delete().await?);
    let diary = house.diary.clone();
    house.running.stop().await?;
    let created =
        |user| diary.of(user).into_iter().filter(|line| line.starts_with("room_created")).collect::<Vec<_>>();
    assert_eq!(created("alice"), ["room_created project:1 Some(\"1\")"]);
    assert_eq!(created("nobody"), ["room_created project:2 Some(\"2\")"]);
    assert_eq!(created("bob"), ["room_created project:3 Some(\"3\")"]);
    assert_eq!(
        (diary.of("project:1"), diary.of("project:2")),
        (vec!["room_deleted".to_owned()], vec!["room_deleted".to_owned()])
    );
    assert_eq!(diary.of("project:4"), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn triggers_are_asked_for_and_told_of_with_their_recipients() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let _bob = house.member("bob", "chat").await?;
    let _stream = house.stream("carol", "chat").await?;
    let mut deaf = house.socket("deaf").await?;
    deaf.ask(json!({ "type": "join", "id": 1, "roomId": "chat", "events": [] })).await?;
    alice.ask(trigger("chat", "one")).await?;
    assert_eq!(house.post("dave", "chat", "two").await?.0, 200);
    let mut mute = house.member("mute", "chat").await?;
    assert!(is_refused(&mute.ask(trigger("chat", "three")).await?, "BLOCKED"));
    assert_eq!(house.post("mute", "chat", "three").await?.0, 422);
    assert_eq!(house.running.server.chat().trigger(Message { text: "four".to_owned() }).await?.seq, Some(3));
    let of =
        |user| house.diary.of(user).into_iter().filter(|line| line.contains("trigger")).collect::<Vec<_>>();
    assert_eq!(of("alice"), ["before_trigger chat message", "after_trigger chat message 1 to 3"]);
    assert_eq!(of("dave"), ["before_trigger chat message", "after_trigger chat message 2 to 3"]);
    assert_eq!(of("mute"), ["before_trigger chat message"; 2]);
    house.running.stop().await
}

#[tokio::test]
async fn nobody_is_said_to_have_left_before_they_are_said_to_have_joined() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let mut pensive = house.socket("pensive").await?;
    let joined = pensive.enter("chat", Value::Null).await?;
    assert_eq!(joined["type"], "joined");
    let server = &house.running.server;
    assert!(server.users().get("pensive").remove_from(&server.chat(), "out").await?);
    alice.ask(trigger("chat", "go on")).await?;
    let expected = ["connect", "before_join chat", "joined chat", "left chat: out"];
    house.diary.says("pensive", &expected).await?;
    assert!(is_refused(&pensive.ask(trigger("chat", "out")).await?, "NOT_IN_ROOM"));
    house.running.stop().await
}

#[tokio::test]
async fn who_may_join_a_room_may_yet_be_refused_to_create_it() -> Result {
    let house = House::open().await?;
    let mut guest = house.socket("guest").await?;
    let refused = guest.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:1" })).await?;
    assert!(is_refused(&refused, "PERMISSION_DENIED"), "{refused}");
    assert_eq!(guest.enter("project:1", Value::Null).await?["type"], "joined");
    house.running.stop().await
}

#[tokio::test]
async fn an_authenticator_that_panics_fails_its_own_request_and_hurts_nobody_else() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    let refused = alice.ask(json!({ "type": "auth", "id": 1, "token": "fuse" })).await?;
    assert!(is_refused(&refused, "INTERNAL"), "{refused}");
    assert_eq!(alice.ask(trigger("chat", "still here")).await?["seq"], 1);
    house.running.stop().await
}

#[tokio::test]
async fn a_hook_that_panics_fails_its_own_request_and_hurts_nobody_else() -> Result {
    let house = House::open().await?;
    let mut alice = house.member("alice", "chat").await?;
    // Where there is a request, it is INTERNAL, and the socket lives.
    let mut join = house.socket("fuse-before_join").await?;
    assert!(is_refused(&join.enter("chat", Value::Null).await?, "INTERNAL"));
    assert_eq!(join.ask(json!({ "type": "listRooms", "id": 1 })).await?["type"], "rooms");
    let mut speak = house.member("fuse-before_trigger", "chat").await?;
    assert!(is_refused(&speak.ask(trigger("chat", "one")).await?, "INTERNAL"));
    assert_eq!(house.post("fuse-before_trigger", "chat", "two").await?.0, 500);
    let mut connect = knock(house.address(), &token("fuse-connect")).await?;
    let (frames, code) = connect.rest().await?;
    assert!(is_refused(&frames[0], "INTERNAL") && code == Some(4403), "{frames:?} {code:?}");
    // Where what was asked for is done already, it is done.
    let mut joined = house.member("fuse-joined", "chat").await?;
    let mut spoke = house.member("fuse-after_trigger", "chat").await?;
    assert_eq!(spoke.ask(trigger("chat", "three")).await?["seq"], 1);
    assert_eq!(joined.events(1).await?[0]["data"]["text"], "three");
    house.member("fuse-left", "chat").await?.reset()?;
    house.socket("fuse-disconnect").await?.reset()?;
    let mut creator = house.socket("fuse-room_created").await?;
    let created = creator.ask(json!({ "type": "createRoom", "id": 1, "roomId": "project:1" })).await?;
    assert_eq!(created["type"], "ok");
    let lost = "the connection was lost";
    let gone = format!("disconnect {lost}");
    let left = format!("left chat: {lost}");
    house.diary.says("fuse-left", &["connect", "before_join chat", "joined chat", &left, &gone]).await?;
    assert_eq!(alice.ask(trigger("chat", "four")).await?["seq"], 2);
    house.running.stop().await
}
