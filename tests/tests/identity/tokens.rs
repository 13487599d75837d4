//! Tokens: every way in, on a live socket, at their end, and nowhere else.

use std::{
    fmt::{self, Write},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use deadline::took;
use serde_json::{Value, json};
use tracing::{Metadata, Subscriber, field::Visit, span};

use crate::{
    club::{House, bearer, get, token},
    harness::{Result, Socket, Stream, connect, is_refused},
};

fn join(room: &str) -> Value {
    json!({ "type": "join", "id": "join", "roomId": room })
}

fn auth(token: &str) -> Value {
    json!({ "type": "auth", "id": "auth", "token": token })
}

#[tokio::test]
async fn a_token_comes_in_by_each_way_of_the_protocol() -> Result {
    let house = House::with(|server| server.auth_cookie("session")).await?;
    let shown = token("alice");
    let list = format!("dialogue.v1, dialogue.token.{}", URL_SAFE_NO_PAD.encode(&shown));
    let cookie = format!("theme=dark; session={shown}");
    let header = format!("Bearer {shown}");
    for way in [("authorization", &header), ("sec-websocket-protocol", &list), ("cookie", &cookie)] {
        let mut socket = Socket::knock(connect(house.address()).await?, "/ws", (way.0, way.1)).await?;
        let greeting = socket.next().await?;
        assert!(greeting["type"] == "connected" && greeting["userId"] == "alice", "{way:?}: {greeting}");
    }
    // In the first frame, `connected` comes before the `ok`.
    let mut late = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    assert!(is_refused(&late.ask(json!({ "type": "listRooms", "id": 1 })).await?, "UNAUTHENTICATED"));
    late.send(auth(&shown)).await?;
    let greeting = late.next().await?;
    assert!(greeting["type"] == "connected" && greeting["userId"] == "alice", "{greeting}");
    let ok = late.next().await?;
    assert!(ok["type"] == "ok" && ok["id"] == "auth", "{ok}");

    let cookie = format!("Cookie: {cookie}\r\n");
    for headers in [bearer(&shown), cookie] {
        assert_eq!(get(house.address(), "/rooms", &headers).await?.0, 200);
        Stream::with(connect(house.address()).await?, "/events?room=chat", "", &headers).await?;
    }
    house.running.stop().await
}

#[tokio::test]
async fn a_token_in_a_query_or_in_a_cookie_that_nobody_named_is_none() -> Result {
    let house = House::open().await?;
    let shown = token("alice");
    for name in ["token", "access_token", "auth", "authorization", "bearer"] {
        let answer = get(house.address(), &format!("/events?room=chat&{name}={shown}"), "").await?;
        assert!(matches!(answer.0, 400 | 401), "{name}: {answer:?}");
        assert_eq!(get(house.address(), &format!("/rooms?{name}={shown}"), "").await?.0, 401);
        let path = format!("/ws?{name}={shown}");
        let mut socket = Socket::knock(connect(house.address()).await?, &path, ("", "")).await?;
        assert!(is_refused(&socket.ask(json!({ "type": "listRooms", "id": 1 })).await?, "UNAUTHENTICATED"));
    }
    let cookie = format!("Cookie: session={shown}\r\n");
    assert_eq!(get(house.address(), "/rooms", &cookie).await?.0, 401);
    house.running.stop().await
}

#[tokio::test]
async fn a_bad_token_is_turned_down_at_once() -> Result {
    let house = House::open().await?;
    assert_eq!(get(house.address(), "/rooms", &bearer("bad")).await?.0, 401);
    assert_eq!(get(house.address(), "/events?room=chat", &bearer("bad")).await?.0, 401);
    assert!(house.knock("bad").await.is_err_and(|error| error.to_string().contains("401")));
    let mut late = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    late.send(auth("bad")).await?;
    let (frames, code) = late.rest().await?;
    assert!(frames.len() == 1 && is_refused(&frames[0], "UNAUTHENTICATED"), "{frames:?}");
    assert_eq!((frames[0]["id"].as_str(), code), (Some("auth"), Some(4401)));
    // Ids that are the server's own.
    for user in ["system", "anon-1", ""] {
        assert!(house.knock(&token(user)).await.is_err_and(|error| error.to_string().contains("401")));
    }
    house.running.stop().await
}

#[tokio::test]
async fn a_live_socket_renews_its_token_and_only_its_own() -> Result {
    let house = House::open().await?;
    const OLDER: Duration = Duration::from_secs(2);
    let opened = Instant::now();
    let renewed = async {
        let mut alice = house.knock("alice//2000/secret").await?;
        let mut answers = vec![alice.next().await?];
        for frame in [auth("bad"), auth(&token("bob")), join("members"), auth("alice/member/3000/secret")] {
            answers.push(alice.ask(frame).await?);
        }
        answers.push(alice.ask(join("members")).await?);
        Result::<_>::Ok((alice, answers))
    }
    .await;
    took("a renewal before the token expires", opened.elapsed(), OLDER)?;
    let (mut alice, answers) = renewed?;
    assert_eq!(answers[0]["userId"], "alice");
    assert!(is_refused(&answers[1], "UNAUTHENTICATED"));
    assert!(is_refused(&answers[2], "PERMISSION_DENIED"));
    // The old one is still there: not the role of the newer.
    assert!(is_refused(&answers[3], "JOIN_DENIED"));
    assert_eq!((&answers[4]["type"], &answers[5]["type"]), (&json!("ok"), &json!("joined")), "{answers:?}");
    let (_, code) = alice.rest().await?;
    assert_eq!(code, Some(4401));
    assert!(opened.elapsed() >= Duration::from_secs(3), "by the newer token, not the older");
    house.running.stop().await
}

#[tokio::test]
async fn an_expired_token_ends_its_socket_and_its_stream() -> Result {
    const LIFE: Duration = Duration::from_secs(1);
    let house = House::open().await?;
    let (opened, headers) = (Instant::now(), bearer("alice//1000/secret"));
    let both = async {
        let socket = house.knock("alice//1000/secret").await?.greeted().await?;
        let wire = connect(house.address()).await?;
        Result::<_>::Ok((socket, Stream::with(wire, "/events?room=chat", "", &headers).await?))
    }
    .await;
    took("a socket and a stream before the token expires", opened.elapsed(), LIFE)?;
    let (mut socket, mut stream) = both?;
    assert_eq!(socket.rest().await?.1, Some(4401));
    assert!(opened.elapsed() >= LIFE);
    let (event, error) = stream.next().await?.ok_or("the stream ended without a word")?;
    assert!(event == "dialogue:error" && is_refused(&error, "UNAUTHENTICATED"), "{event} {error}");
    assert!(stream.next().await?.is_none());
    // What ended has ended for good.
    assert_eq!(house.get("alice", "/rooms").await?.0, 200);
    house.running.stop().await
}

#[tokio::test]
async fn who_shows_no_token_in_time_is_closed() -> Result {
    let house =
        House::with(|server| server.auth_timeout(Duration::from_millis(300)).without_frame_limit()).await?;
    let opened = Instant::now();
    let mut silent = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    assert_eq!(silent.rest().await?, (Vec::new(), Some(4401)));
    assert!(opened.elapsed() >= Duration::from_millis(300));
    let mut busy = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    // Talking doesn't help.
    let talk = async {
        loop {
            match busy.ask(json!({ "type": "listRooms", "id": 1 })).await {
                Ok(reply) => assert!(is_refused(&reply, "UNAUTHENTICATED"), "{reply}"),
                Err(_) => return,
            }
        }
    };
    crate::harness::soon("it is closed", talk).await?;
    house.socket("alice").await?.close().await?;
    house.running.stop().await
}

#[tokio::test]
async fn who_shows_none_may_be_let_in_as_nobody() -> Result {
    let house = House::with(|server| server.allow_anonymous()).await?;
    let mut nobody = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    let greeting = nobody.next().await?;
    let id = greeting["userId"].as_str().ok_or("no id")?;
    let again = greeting["anonymousToken"].as_str().ok_or("no token to come back with")?;
    assert!(id.starts_with("anon-") && !again.is_empty() && id != again);
    assert_eq!(nobody.enter("chat", Value::Null).await?["type"], "joined");
    assert!(is_refused(&nobody.enter("members", Value::Null).await?, "JOIN_DENIED"));
    let mut same = house.knock(again).await?;
    assert_eq!(same.next().await?["userId"], id);
    let greeting = house.knock(&token("alice")).await?.next().await?;
    assert!(greeting["userId"] == "alice" && greeting.get("anonymousToken").is_none(), "{greeting}");
    assert!(house.knock("bad").await.is_err_and(|error| error.to_string().contains("401")));
    assert_eq!(get(house.address(), "/rooms", "").await?.0, 200);
    house.running.stop().await
}

#[tokio::test]
async fn a_token_is_in_no_frame_of_another_and_in_no_log() -> Result {
    static KEPT: OnceLock<Mutex<String>> = OnceLock::new();
    let kept = KEPT.get_or_init(Mutex::default);
    tracing::subscriber::set_global_default(Kept(kept))?;
    let house = House::with(|server| server.allow_anonymous()).await?;
    let mut bob = house.member("bob", "lobby").await?;

    // Tokens that are good, bad, of another, for a reserved id, and one that a hook breaks over.
    let mut alice = house.member("alice", "lobby").await?;
    alice.ask(auth("alice//60000/secret")).await?;
    alice.ask(auth("a password by mistake")).await?;
    alice.ask(auth(&token("carol"))).await?;
    for shown in ["a password by mistake", &token("system"), &token("fuse-connect")] {
        let _ = house.knock(shown).await;
        let _ = get(house.address(), "/events?room=lobby", &bearer(shown)).await?;
    }
    let mut nobody = Socket::knock(connect(house.address()).await?, "/ws", ("", "")).await?;
    let again = nobody.next().await?["anonymousToken"].as_str().unwrap_or_default().to_owned();
    let signature = again.split_once('.').ok_or("no signature")?.1;
    for socket in [&mut alice, &mut nobody] {
        socket.enter("lobby", Value::Null).await?;
        let hello = json!({ "type": "trigger", "id": 1, "roomId": "lobby", "event": "message", "data": { "text": "hello" } });
        assert_eq!(socket.ask(hello).await?["type"], "ok");
    }
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.push(bob.next().await?.to_string());
    }
    seen.push(bob.ask(json!({ "type": "members", "id": 2, "roomId": "lobby" })).await?.to_string());
    seen.push(get(house.address(), "/rooms/lobby/history", &bearer(&token("bob"))).await?.1.to_string());
    house.running.stop().await?;

    let seen = seen.join("\n");
    let log = kept.lock().map_err(|_| "poisoned")?.clone();
    assert!(seen.contains("alice") && log.contains("the application panicked"), "{seen}\n{log}");
    for part in ["secret", "password", signature] {
        assert!(!seen.contains(part), "{part} in {seen}");
        let line = log.lines().find(|line| line.contains(part));
        assert!(line.is_none(), "{part} in the log: {line:?}");
    }
    Ok(())
}

/// Keeps what is logged, by everybody and at every level.
struct Kept(&'static Mutex<String>);

struct Line(String);

impl Subscriber for Kept {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(String::new());
        span.record(&mut line);
        self.keep(line);
        span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        // Clients log what they send, here in the same process.
        if event.metadata().target().starts_with("tungstenite")
            || event.metadata().target().starts_with("tokio_tungstenite")
        {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        self.keep(line);
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.keep(line);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Kept {
    fn keep(&self, Line(line): Line) {
        if let Ok(mut kept) = self.0.lock() {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}: {value:?} ");
    }
}
