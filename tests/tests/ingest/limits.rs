//! Limits, to the event.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use dialogue::{
    PerTime, Rate,
    limits::{Quota, RateLimitKey},
    middleware::RateLimit,
};
use serde_json::{Value, json};

use crate::{
    harness::{Message, Result, Running, Socket, ask, connect, is_refused, post},
    tokens::Tokens,
};

/// Said to everybody at once.
#[dialogue::event]
pub(crate) struct Alarm;

dialogue::rooms! {
    struct Office;

    #[room(limit = 40 per 1h)]
    slow: [Message] via [websocket];

    #[room(limit = 2 per 1h burst 6)]
    desk(u64): [Message] via [websocket];

    hall: [Message, Alarm with [RateLimit::new(3.per_hour())]] via [websocket, sse];
}

type Builder = dialogue::server::ServerBuilder<Office>;

async fn open(configure: fn(Builder) -> Builder) -> Result<Running<OfficeServer>> {
    let server = configure(Office::server()).build().await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

/// The same, for users with a name.
async fn open_with_names() -> Result<Running<OfficeServer>> {
    let server = Office::server().auth(Tokens).server_key(KEY).build().await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

const KEY: &str = "a key for these tests only";

/// Comes from `address`, by the word of a proxy.
async fn come(to: SocketAddr, address: &str) -> Result<Socket> {
    Socket::knock(connect(to).await?, "/ws", ("x-forwarded-for", address)).await
}

async fn try_to_say(socket: &mut Socket, room: &str, event: &str) -> Result<bool> {
    let data = if event == "alarm" { Value::Null } else { json!({ "text": "x" }) };
    let trigger = json!({ "type": "trigger", "id": 1, "roomId": room, "event": event, "data": data });
    let reply = socket.ask(trigger).await?;
    assert!(reply["type"] == "ok" || is_refused(&reply, "RATE_LIMITED"), "{reply}");
    assert_eq!(reply["type"] == "ok", reply["retryAfterMs"].as_u64().is_none_or(|after| after == 0));
    Ok(reply["type"] == "ok")
}

/// How many of 20 events are accepted.
async fn say(mut socket: Socket, room: &'static str, event: &'static str) -> Result<usize> {
    let joined = socket.ask(json!({ "type": "join", "id": 0, "roomId": room, "events": [] })).await?;
    assert_eq!(joined["type"], "joined");
    let mut accepted = 0;
    for _ in 0..20 {
        accepted += usize::from(try_to_say(&mut socket, room, event).await?);
    }
    Ok(accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_connections_of_one_user_have_one_limit_and_a_ninth_has_it_too() -> Result {
    let office = open_with_names().await?;
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(tokio::spawn(say(Socket::open_as(office.address, "alice").await?, "slow", "message")));
    }
    let mut accepted = 0;
    for one in crowd {
        accepted += one.await??;
    }
    assert_eq!(accepted, 40);
    assert_eq!(say(Socket::open_as(office.address, "alice").await?, "slow", "message").await?, 0);
    assert_eq!(say(Socket::open_as(office.address, "bob").await?, "slow", "message").await?, 20);
    office.running_on_http().await?;
    office.stop().await
}

impl Running<OfficeServer> {
    /// Over HTTP alice has nothing left either, and the application's backend has no limit.
    async fn running_on_http(&self) -> Result {
        let path = "/rooms/slow/events/message";
        let (status, error) =
            post(self.address, path, "Authorization: Bearer alice\r\n", r#"{"text":"x"}"#).await?;
        assert!(status == 429 && is_refused(&error, "RATE_LIMITED"), "{error}");
        for _ in 0..50 {
            let backend = format!("Authorization: Bearer {KEY}\r\n");
            assert_eq!(post(self.address, path, &backend, r#"{"text":"x"}"#).await?.0, 200);
        }
        Ok(())
    }
}

#[tokio::test]
async fn plain_http_has_a_limit_of_its_own_which_a_users_frames_count_for() -> Result {
    let server = Office::server().auth(Tokens).server_key(KEY).limit_http(40.per_hour()).build().await?;
    let routes = server.router();
    let office = Running::serve(server, routes).await?;
    let list = async |token: &str| -> Result<bool> {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let (head, body) = ask(office.address, "GET", "/rooms", &headers).await?;
        let limited = head.starts_with("HTTP/1.1 429") && head.contains("retry-after: ");
        assert!(
            limited && body.contains("RATE_LIMITED") || head.starts_with("HTTP/1.1 200"),
            "{head} {body}"
        );
        Ok(!limited)
    };
    for _ in 0..40 {
        assert!(list("bob").await?);
    }
    assert!(!list("bob").await?);
    for _ in 0..60 {
        assert!(list(KEY).await?);
    }
    let mut alice = Socket::open_as(office.address, "alice").await?;
    for id in 0..64 {
        alice.ask(json!({ "type": "listRooms", "id": id })).await?;
    }
    assert!(!list("alice").await?);
    // Her sockets have their own limit.
    assert_eq!(alice.ask(json!({ "type": "listRooms", "id": 64 })).await?["type"], "rooms");
    office.stop().await
}

#[tokio::test]
async fn a_limit_is_of_all_instances_and_has_its_burst() -> Result {
    let office = open_with_names().await?;
    assert_eq!(say(Socket::open_as(office.address, "alice").await?, "desk:1", "message").await?, 6);
    assert_eq!(say(Socket::open_as(office.address, "alice").await?, "desk:2", "message").await?, 0);
    office.stop().await
}

#[tokio::test]
async fn an_event_has_a_limit_of_its_own() -> Result {
    let office = open_with_names().await?;
    assert_eq!(say(Socket::open_as(office.address, "alice").await?, "hall", "alarm").await?, 3);
    assert_eq!(say(Socket::open_as(office.address, "alice").await?, "hall", "message").await?, 20);
    for _ in 0..10 {
        office.server.hall().trigger(Alarm).await?;
    }
    office.stop().await
}

#[tokio::test]
async fn an_anonymous_user_is_an_address() -> Result {
    let office = open(|server| server.behind_proxies(1)).await?;
    let first = come(office.address, "203.0.113.7").await?;
    assert_eq!(say(first, "desk:1", "message").await?, 6);
    let invented = come(office.address, "198.51.100.1, 203.0.113.7").await?;
    assert_eq!(say(invented, "desk:1", "message").await?, 0);
    assert_eq!(say(come(office.address, "203.0.113.8").await?, "desk:1", "message").await?, 6);
    office.stop().await
}

#[tokio::test]
async fn every_request_counts_over_all_rooms_and_so_does_what_is_none() -> Result {
    let office = open(|server| server.limit(30.per_hour())).await?;
    assert_eq!(say(Socket::open(office.address).await?, "hall", "message").await?, 20);
    let mut socket = Socket::open(office.address).await?;
    for n in 21..40 {
        socket.send_text("garbage".to_owned()).await?;
        let code = if n < 30 { "INVALID_REQUEST" } else { "RATE_LIMITED" };
        assert!(is_refused(&socket.next().await?, code), "the {n}th request");
    }
    let (head, _) = ask(office.address, "GET", "/rooms", "").await?;
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: "), "{head}");
    office.stop().await
}

#[tokio::test]
async fn who_hammers_is_closed() -> Result {
    let office = open(|server| server.limit_frames(20.per_hour())).await?;
    let mut socket = Socket::open(office.address).await?;
    for _ in 0..150 {
        // It may be closed before it has said all.
        let _ = socket.send_text("garbage".to_owned()).await;
    }
    let (frames, code) = socket.rest().await?;
    let count = |code| frames.iter().filter(|frame| is_refused(frame, code)).count();
    assert_eq!((count("INVALID_REQUEST"), count("RATE_LIMITED"), code), (20, 101, Some(4429)));
    office.stop().await
}

#[tokio::test]
async fn an_address_comes_so_often() -> Result {
    let office = open(|server| server.behind_proxies(1).limit_connects(Rate::new(2, HOUR))).await?;
    come(office.address, "203.0.113.7").await?.close().await?;
    let from = "X-Forwarded-For: 203.0.113.7\r\n";
    let (head, _) = ask(office.address, "GET", "/events?room=hall&room=nowhere", from).await?;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    let (head, _) = ask(office.address, "GET", "/events?room=hall", from).await?;
    assert!(head.starts_with("HTTP/1.1 429") && head.contains("retry-after: "), "{head}");
    assert!(come(office.address, "203.0.113.7").await.is_err());
    come(office.address, "203.0.113.8").await?.close().await?;
    office.stop().await
}

const HOUR: Duration = Duration::from_secs(60 * 60);

/// So many for everybody, whoever asks.
#[derive(Clone)]
struct Pot(Arc<AtomicU32>);

impl Quota for Pot {
    async fn take(&self, limit: &str, rate: Rate, who: &RateLimitKey) -> Result<(), Duration> {
        assert_eq!(
            (limit, rate, who.to_string().as_str()),
            ("room slow", Rate::new(40, HOUR), "address 127.0.0.1")
        );
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| HOUR)
    }
}

#[tokio::test]
async fn instances_share_a_quota() -> Result {
    let pot = Pot(Arc::new(AtomicU32::new(30)));
    let mut accepted = Vec::new();
    for _ in 0..2 {
        let server = Office::server().quota(pot.clone()).build().await?;
        let routes = server.router();
        let office = Running::serve(server, routes).await?;
        accepted.push(say(Socket::open(office.address).await?, "slow", "message").await?);
        office.stop().await?;
    }
    assert_eq!(accepted, [20, 10]);
    Ok(())
}
