//! Redis down, hung, read-only, full, emptied and failed over: what is said, how soon, and what becomes of it.

use std::time::{Duration, Instant};

use dialogue::{Code, Redis};
use dialogue_tests::{Lines, RedisServer, Result, Socket, Watched, is_refused, until};
use serde_json::{Value, json};

use crate::{
    harness::{Message, ask, texts},
    house::{House, Place, open, over},
};

/// What a refusal may take, which waits for an answer of Redis at most.
const BOUND: Duration = Duration::from_secs(8);

async fn say(place: &Place, text: &str) -> Result<(), dialogue::Refusal> {
    place.server.chat().trigger(Message { text: text.to_owned() }).await.map(drop)
}

/// The status of `/health`.
async fn health(place: &Place) -> Result<(u16, Value)> {
    let (head, body) = ask(place.address, "GET", "/health", "").await?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, serde_json::from_str(&body)?))
}

/// An event is refused by name, in time, in code and over a socket, and `/health` says why.
async fn is_refused_in_time(place: &Place, socket: &mut Socket) -> Result {
    let began = Instant::now();
    let refusal = say(place, "in vain").await.expect_err("it is refused");
    assert_eq!(refusal.code, Code::Unavailable);
    let trigger = json!({ "type": "trigger", "id": 1, "roomId": "chat", "event": "message", "data": { "text": "in vain" } });
    let answer = socket.ask(trigger).await?;
    assert!(is_refused(&answer, "UNAVAILABLE"), "{answer}");
    let time = began.elapsed();
    let (status, body) = health(place).await?;
    assert!(status == 503 && body["reason"].is_string(), "{status} {body}");
    Ok(deadline::took("two refusals", time, BOUND)?)
}

/// Without a word to it, it serves again: members on two instances hear what is said.
async fn recovers(places: [&Place; 2], listeners: &mut [Socket; 2]) -> Result {
    for place in places {
        until("events are taken again", async || say(place, "again").await.is_ok()).await?;
        until("it is well", async || health(place).await.is_ok_and(|(status, _)| status == 200)).await?;
    }
    hear(places[1], listeners).await
}

/// Members on two instances hear what is said.
async fn hear(place: &Place, listeners: &mut [Socket; 2]) -> Result {
    until("something more is taken", async || say(place, "and there").await.is_ok()).await?;
    for listener in listeners {
        while texts(&listener.events(1).await?) != ["and there"] {}
    }
    Ok(())
}

/// Two instances, and a member on each.
async fn pair(redis: &RedisServer) -> Result<([Place; 2], [Socket; 2])> {
    let places = [open(redis.url()).await?, open(redis.url()).await?];
    let members = [enter(&places[0], "alice").await?, enter(&places[1], "bob").await?];
    say(&places[0], "before").await?;
    Ok((places, members))
}

async fn enter(place: &Place, user: &str) -> Result<Socket> {
    let mut socket = Socket::open_as(place.address, user).await?;
    socket.be_let_in("chat", Value::Null).await?;
    Ok(socket)
}

/// The lines at the levels that are seen, each of which says that something changed.
fn changes(lines: &Lines) -> Vec<String> {
    lines.all().into_iter().filter(|line| line.starts_with("WARN") || line.starts_with("ERROR")).collect()
}

/// Each place logs no more than so many lines about what went wrong.
fn few(lines: &Lines, most: usize) {
    let changes = changes(lines);
    assert!(!changes.is_empty() && changes.len() <= most, "{changes:#?}");
}

#[tokio::test]
async fn a_server_that_is_down() -> Result {
    let mut redis = RedisServer::durable().await?;
    let (lines, _guard) = Lines::keep();
    let ([one, other], mut members) = pair(&redis).await?;
    redis.kill()?;
    for _ in 0..20 {
        is_refused_in_time(&one, &mut members[0]).await?;
    }
    redis.restart().await?;
    recovers([&one, &other], &mut members).await?;
    // Each of the two: Redis' own line, the store's, and the subscriptions'.
    few(&lines, 6);
    Ok(())
}

#[tokio::test]
async fn a_server_that_hangs() -> Result {
    let redis = RedisServer::start().await?;
    let (lines, _guard) = Lines::keep();
    let ([one, other], mut members) = pair(&redis).await?;
    redis.signal("STOP")?;
    is_refused_in_time(&one, &mut members[0]).await?;
    is_refused_in_time(&other, &mut members[1]).await?;
    redis.signal("CONT")?;
    recovers([&one, &other], &mut members).await?;
    few(&lines, 6);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_full() -> Result {
    let redis = RedisServer::start().await?;
    let (lines, _guard) = Lines::keep();
    let ([one, other], mut members) = pair(&redis).await?;
    redis.cli(&["config", "set", "maxmemory", "1"]).await?;
    for _ in 0..5 {
        is_refused_in_time(&one, &mut members[0]).await?;
    }
    redis.cli(&["config", "set", "maxmemory", "0"]).await?;
    recovers([&one, &other], &mut members).await?;
    few(&lines, 6);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_read_only() -> Result {
    let (redis, primary) = (RedisServer::start().await?, RedisServer::start().await?);
    let (lines, _guard) = Lines::keep();
    let ([one, other], mut members) = pair(&redis).await?;
    redis.cli(&["replicaof", "127.0.0.1", &primary.port.to_string()]).await?;
    for _ in 0..5 {
        is_refused_in_time(&one, &mut members[0]).await?;
    }
    redis.cli(&["replicaof", "no", "one"]).await?;
    // A replica has what its primary has, which is nothing: the members come back to another log.
    until("events are taken again", async || say(&one, "again").await.is_ok()).await?;
    until("it is well", async || health(&one).await.is_ok_and(|(status, _)| status == 200)).await?;
    until("and at the other one", async || say(&other, "and there").await.is_ok()).await?;
    few(&lines, 10);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_emptied() -> Result {
    let redis = RedisServer::start().await?;
    let ([one, other], mut members) = pair(&redis).await?;
    for member in &mut members {
        member.events(1).await?;
    }
    let since = members[0].since();
    redis.cli(&["flushall"]).await?;
    until("events are taken again", async || say(&one, "again").await.is_ok()).await?;
    until("the other one has them too", async || {
        let Ok((mut back, joined)) = rejoin(&other, "alice", since.clone()).await else { return false };
        // Until it has heard of the new log, it has the old one.
        if joined["epoch"] == since["epoch"] {
            return false;
        }
        assert_eq!(joined["resume"], "lost", "{joined}");
        say(&other, "and there").await.is_ok() && back.events(1).await.is_ok()
    })
    .await?;
    Ok(())
}

async fn rejoin(place: &Place, user: &str, since: Value) -> Result<(Socket, Value)> {
    let mut socket = Socket::open_as(place.address, user).await?;
    let joined = socket.enter("chat", since).await?;
    Ok((socket, joined))
}

/// Takes frames up to the one of that type; none that comes before is about who is there.
async fn up_to(socket: &mut Socket, kind: &str) -> Result<Value> {
    loop {
        let frame = socket.next().await?;
        if frame["type"] == kind {
            return Ok(frame);
        }
        assert!(frame["type"] != "presence" && frame["type"] != "left", "{frame}");
    }
}

/// Takes frames up to the one that says of a user that it joined.
async fn up_to_joined(socket: &mut Socket, user: &str) -> Result {
    loop {
        let frame = socket.next().await?;
        if frame["type"] == "presence" && frame["userId"] == user {
            assert_eq!(frame["change"], "joined", "{frame}");
            return Ok(());
        }
    }
}

#[tokio::test]
async fn a_room_whose_log_is_lost_keeps_its_members() -> Result {
    let house = House::open(2).await?;
    for room in ["lobby", "small"] {
        let mut members = vec![house.member(0, "alice", room).await?, house.member(1, "bob", room).await?];
        if room == "lobby" {
            up_to_joined(&mut members[0], "bob").await?;
            // When a third is announced at both, nothing is left to be said of the first two.
            let third = house.member(0, "carol", room).await?;
            for member in &mut members {
                up_to_joined(member, "carol").await?;
            }
            members.push(third);
        }
        members[0].say(room, "before").await?;
        for member in &mut members {
            up_to(member, "event").await?;
        }
        house.redis.cli(&["unlink", &format!("dialogue:{{room/{room}}}:log")]).await?;
        for member in &mut members {
            let lost = up_to(member, "joined").await?;
            assert!(lost["id"].is_null() && lost["resume"] == "lost" && lost["roomId"] == room, "{lost}");
            assert_eq!(lost["seq"], 0, "{lost}");
        }
        members[1].say(room, "after").await?;
        for member in &mut members {
            assert_eq!(up_to(member, "event").await?["data"]["text"], "after");
        }
        if room == "lobby" {
            // Nothing was about to be said of the others.
            let fourth = house.member(1, "dave", room).await?;
            for member in &mut members {
                let presence = up_to(member, "presence").await?;
                assert!(presence["userId"] == "dave" && presence["size"] == 4, "{presence}");
            }
            fourth.close().await?;
        } else {
            // Nobody else has a place in a full room.
            let mut third = Socket::open_as(house.address(0), "carol").await?;
            assert!(is_refused(&third.enter(room, Value::Null).await?, "ROOM_FULL"));
        }
    }
    house.close().await
}

/// Takes frames up to the one that says that the member is out of a room.
async fn up_to_left(socket: &mut Socket) -> Result<Value> {
    loop {
        let frame = socket.next().await?;
        if frame["type"] == "left" {
            return Ok(frame);
        }
    }
}

#[tokio::test]
async fn who_is_put_out_of_a_room_whose_log_is_being_lost_is_out() -> Result {
    let house = House::open(2).await?;
    for round in 0..20 {
        // One finds that the log is lost, at some moment of the removal.
        let [finds, removes] = [&house.places[round % 2].server, &house.places[(round + 1) % 2].server];
        let key = u64::try_from(round)?;
        let room = format!("project:{key}");
        let mut members = [house.member(0, "alice", &room).await?, house.member(1, "bob", &room).await?];
        members[0].say(&room, "before").await?;
        for member in &mut members {
            member.events(1).await?;
        }
        house.redis.cli(&["unlink", &format!("dialogue:{{room/{room}}}:log")]).await?;
        let (found, left, bob) = (finds.project(key), removes.project(key), removes.users().get("bob"));
        let (_, out) = tokio::join!(found.trigger(Message { text: "after".to_owned() }), async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            bob.remove_from(&left, "enough").await
        });
        assert!(out?, "round {round}: nobody was put out");
        let left = up_to_left(&mut members[1]).await?;
        assert_eq!(left["reason"], "enough", "round {round}: {left}");
        // It is sent nothing more of the room.
        members[1].send(json!({ "type": "members", "id": 1, "roomId": room })).await?;
        let answer = members[1].next().await?;
        assert!(is_refused(&answer, "NOT_IN_ROOM"), "round {round}: {answer}");
        for place in &house.places {
            let alone =
                async || place.server.project(key).members().await.is_ok_and(|users| users == ["alice"]);
            until("bob is out everywhere", alone).await?;
        }
        for member in members {
            member.close().await?;
        }
    }
    house.close().await
}

#[tokio::test]
async fn a_primary_that_is_retired() -> Result {
    let mut watched = Watched::start().await?;
    let mut connected = Vec::new();
    for _ in 0..2 {
        connected.push(over(Redis::sentinel(watched.urls(), Watched::NAME).await?).await?);
    }
    let places: [&Place; 2] = [&connected[0], &connected[1]];
    let mut members = [enter(places[0], "alice").await?, enter(places[1], "bob").await?];
    say(places[0], "before").await?;
    watched.retire_primary().await?;
    recovers(places, &mut members).await
}
