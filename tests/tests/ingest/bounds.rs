//! Bounds on what a client may take, whatever it sends and how slowly.

use std::time::Duration;

use dialogue::{PerTime, backplane::SharedMembers};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Message, Result, Running, Socket, ask, connect, is_refused, post, soon};

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels) + "1", "}".repeat(levels))
}

#[tokio::test]
async fn json_has_a_depth() -> Result {
    let running = Running::with(|server| server.max_json_depth(8)).await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    for (levels, fits) in [(7, true), (8, false)] {
        let data: Value = serde_json::from_str(&nested(levels))?;
        let trigger =
            json!({ "type": "trigger", "id": 1, "roomId": "chat", "event": "message", "data": data });
        socket.send(trigger).await?;
        let code = if fits { "VALIDATION_FAILED" } else { "INVALID_REQUEST" };
        assert!(is_refused(&socket.next().await?, code), "{levels} levels below the frame's own");
    }
    let text = r#"{"text":"[[[[[[[[[[[[[[[[ \" {{{{{{{{{{{{{{{{ "}"#;
    assert_eq!(post(running.address, "/rooms/chat/events/message", "", text).await?.0, 200);
    let (status, error) = post(running.address, "/rooms/chat/events/message", "", &nested(9)).await?;
    assert!(status == 400 && is_refused(&error, "INVALID_REQUEST"), "{error}");
    running.stop().await
}

#[tokio::test]
async fn a_list_of_events_has_an_end() -> Result {
    let running = Running::with(|server| server.max_subscribed_events(3)).await?;
    let mut socket = Socket::open(running.address).await?;
    let join = |events: &[&str]| json!({ "type": "join", "id": 1, "roomId": "chat", "events": events });
    assert_eq!(socket.ask(join(&["message"; 3])).await?["type"], "joined");
    assert!(is_refused(&socket.ask(join(&["message"; 4])).await?, "TOO_MANY"));
    let path = format!("/events?room=chat{}", "&event=message".repeat(4));
    assert!(ask(running.address, "GET", &path, "").await?.0.starts_with("HTTP/1.1 409"));
    running.stop().await
}

#[tokio::test]
async fn a_page_of_history_has_an_end() -> Result {
    let running = Running::with(|server| server.max_history_events(5)).await?;
    let mut socket = Socket::join(running.address, "chat").await?;
    for n in 0..9 {
        socket.say("chat", &n.to_string()).await?;
    }
    socket.events(9).await?;
    let page = socket.ask(json!({ "type": "getHistory", "id": "h", "roomId": "chat", "limit": 200 })).await?;
    assert_eq!((page["events"].as_array().map(Vec::len), &page["more"]), (Some(5), &json!(true)));
    let (_, page) = ask(running.address, "GET", "/rooms/chat/history?limit=200", "").await?;
    assert_eq!(serde_json::from_str::<Value>(&page)?["events"].as_array().map(Vec::len), Some(5));
    running.stop().await
}

#[tokio::test]
async fn an_address_has_so_many_connections() -> Result {
    let running = Running::with(|server| server.behind_proxies(1).max_connections_per_address(2)).await?;
    let come = || async {
        let header = ("x-forwarded-for", "2001:db8::1");
        Socket::knock(connect(running.address).await?, "/ws", header).await
    };
    let (first, _second) = (come().await?, come().await?);
    assert!(come().await.is_err());
    first.close().await?;
    // Its place is free once the server is done with it.
    crate::harness::until("a place is free", async || come().await.is_ok()).await?;
    running.stop().await
}

#[tokio::test]
async fn what_is_no_handshake_uses_nothing_up() -> Result {
    let running =
        Running::with(|server| server.echo_at("/echo").behind_proxies(1).limit_connects(3.per_hour()))
            .await?;
    let from = ("x-forwarded-for", "203.0.113.7");
    let header = format!("{}: {}\r\n", from.0, from.1);
    for path in ["/ws", "/echo", "/events", "/events?room=chat&since=nonsense"] {
        for _ in 0..3 {
            let (head, _) = ask(running.address, "GET", path, &header).await?;
            assert!(head.starts_with("HTTP/1.1 400"), "{path}: {head}");
        }
    }
    for _ in 0..3 {
        Socket::knock(connect(running.address).await?, "/ws", from).await?;
    }
    assert!(Socket::knock(connect(running.address).await?, "/ws", from).await.is_err());
    running.stop().await
}

#[tokio::test]
async fn the_head_of_a_request_has_a_size() -> Result {
    let running = Running::with(|server| server.max_header_bytes(8 << 10)).await?;
    let headers = |bytes| format!("X-Padding: {}\r\n", "x".repeat(bytes));
    assert!(ask(running.address, "GET", "/health", &headers(4 << 10)).await?.0.starts_with("HTTP/1.1 200"));
    assert!(ask(running.address, "GET", "/health", &headers(16 << 10)).await?.0.starts_with("HTTP/1.1 431"));
    running.stop().await
}

#[tokio::test]
async fn a_head_comes_in_time_or_not_at_all() -> Result {
    let short = Duration::from_millis(200);
    let running = Running::with(|server| server.header_read_timeout(short).idle_timeout(short)).await?;
    // Nothing, the beginning of HTTP/2's preface, the beginning of a request, and a request that none follows.
    for begun in ["", "PRI", "GET /health HTTP/1.1\r\nHost:", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = connect(running.address).await?;
        stream.write_all(begun.as_bytes()).await?;
        let mut answer = String::new();
        soon(&format!("the end after {begun:?}"), stream.read_to_string(&mut answer)).await??;
        assert_eq!(answer.starts_with("HTTP/1.1 200"), begun.ends_with("\r\n\r\n"), "{answer}");
    }
    running.stop().await
}

/// Comes from an address, as far as a proxy says.
async fn from(running: &Running, address: &str) -> Result<Socket> {
    let mut socket =
        Socket::knock(connect(running.address).await?, "/ws", ("x-forwarded-for", address)).await?;
    socket.next().await?;
    Ok(socket)
}

fn join(room_id: &str) -> Value {
    json!({ "type": "join", "id": 1, "roomId": room_id })
}

/// Says something in a room that nobody has been in, and leaves it.
async fn pass_by(socket: &mut Socket, room_id: &str) -> Result<Value> {
    let joined = socket.ask(join(room_id)).await?;
    if joined["type"] == "joined" {
        socket.say(room_id, "passing by").await?;
        socket.events(1).await?;
        socket.ask(json!({ "type": "leave", "id": 2, "roomId": room_id })).await?;
    }
    Ok(joined)
}

#[tokio::test]
async fn a_user_and_an_address_make_so_many_rooms() -> Result {
    let bounded = |server: dialogue::server::ServerBuilder<_>| {
        server.behind_proxies(1).max_new_rooms_per_user(2).max_new_rooms_per_address(3)
    };
    let running = Running::with(bounded).await?;
    let (mut one, mut two) = (from(&running, "203.0.113.7").await?, from(&running, "203.0.113.7").await?);
    for n in 0..9 {
        // What nothing was said in is nothing that is new.
        let room_id = format!("project:{}", 100 + n);
        assert_eq!(one.ask(join(&room_id)).await?["type"], "joined");
        one.ask(json!({ "type": "leave", "id": 2, "roomId": room_id })).await?;
    }
    assert_eq!(pass_by(&mut one, "project:1").await?["type"], "joined");
    assert_eq!(pass_by(&mut one, "project:2").await?["type"], "joined");
    assert!(is_refused(&pass_by(&mut one, "project:3").await?, "TOO_MANY"));
    let create = json!({ "type": "createRoom", "id": 3, "roomId": "project:3" });
    assert!(is_refused(&one.ask(create.clone()).await?, "TOO_MANY"));
    assert_eq!(one.ask(join("project:1")).await?["type"], "joined");
    assert_eq!(two.ask(join("project:4")).await?["type"], "joined");
    assert!(is_refused(&two.ask(join("project:5")).await?, "TOO_MANY"));
    let event = post(
        running.address,
        "/rooms/project:6/events/message",
        "X-Forwarded-For: 203.0.113.7\r\n",
        r#"{"text":"hi"}"#,
    );
    assert!(is_refused(&event.await?.1, "TOO_MANY"));
    assert_eq!(from(&running, "203.0.113.8").await?.ask(create).await?["type"], "ok");
    running.stop().await
}

#[tokio::test]
async fn rooms_that_the_application_knows_are_not_refused_for_those_that_clients_hold() -> Result {
    let store = dialogue::store::Memory::new();
    let server = crate::harness::Acme::server().store(store.clone()).build().await?;
    server.project(50).trigger(Message { text: "stored".into() }).await?;
    drop(server);
    for store in [None, Some(store)] {
        let configure = |server: dialogue::server::ServerBuilder<_>| {
            let server = server.max_instances(5).server_key("a key of the backend");
            match store {
                Some(store) => server.store(store),
                None => server,
            }
        };
        let running = Running::with(configure).await?;
        let mut socket = Socket::open(running.address).await?;
        let mut held = 0;
        for n in 0..9 {
            let joined = socket.ask(join(&format!("project:{n}"))).await?;
            held += usize::from(joined["type"] == "joined");
            assert!(joined["type"] == "joined" || is_refused(&joined, "TOO_MANY"), "{joined}");
        }
        assert!((5..=6).contains(&held), "{held} are in use");
        let key = "Authorization: Bearer a key of the backend\r\n";
        for room_id in ["project:50", "project:51"] {
            let path = format!("/rooms/{room_id}/events/message");
            let (status, body) = post(running.address, &path, key, r#"{"text":"hi"}"#).await?;
            assert_eq!(status, 200, "{room_id}: {body}");
            assert_eq!(socket.ask(join(room_id)).await?["type"], "joined", "{room_id} is there");
        }
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn one_client_does_not_wipe_the_rooms_of_others() -> Result {
    for stored in [false, true] {
        let configure = |server: dialogue::server::ServerBuilder<_>| {
            let server = server.max_instances(100).without_frame_limit();
            if stored { server.store(dialogue::store::Memory::new()) } else { server }
        };
        let running = Running::with(configure).await?;
        for n in 0..100 {
            running.server.project(n).trigger(Message { text: "left".into() }).await?;
        }
        let mut watcher = Socket::open(running.address).await?;
        let list = json!({ "type": "listRooms", "id": 1, "limit": 1000, "watch": true });
        watcher.ask(list.clone()).await?;
        let mut socket = Socket::open(running.address).await?;
        for n in 1_000..1_200 {
            pass_by(&mut socket, &format!("project:{n}")).await?;
        }
        let gone = loop {
            let frame = watcher.next().await?;
            if frame["type"] == "roomDeleted" {
                break frame["roomId"].clone();
            }
        };
        let rooms = watcher.ask(list).await?["rooms"].clone();
        let listed: Vec<_> = rooms.as_array().into_iter().flatten().map(|room| &room["roomId"]).collect();
        let others = (0..100).filter(|n| listed.contains(&&json!(format!("project:{n}")))).count();
        assert!((80..100).contains(&others), "{others} are left, stored: {stored}");
        assert!(!listed.contains(&&gone), "{gone} is there");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_room_that_comes_and_goes_in_turn_costs_those_who_watch_little() -> Result {
    let running = Running::start().await?;
    let mut watcher = Socket::open(running.address).await?;
    watcher.ask(json!({ "type": "listRooms", "id": 1, "watch": true })).await?;
    let project = running.server.project(1);
    for n in 0..1_000 {
        project.create(dialogue::server::NewRoom::new().name(format!("{n}"))).await?;
        project.delete().await?;
    }
    project.create(dialogue::server::NewRoom::new().name("last")).await?;
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &Value| frame["room"]["name"] != "last") {
        frames.push(watcher.next().await?);
    }
    assert!(frames.len() < 500, "{} frames", frames.len());
    // The first is told at once, and no two creations without the deletion between them.
    assert_eq!(frames[0]["room"]["name"], "0");
    let kinds: Vec<_> = frames.iter().map(|frame| frame["type"] == "roomCreated").collect();
    assert!(kinds.windows(2).all(|two| two != [true, true]), "{kinds:?}");
    running.stop().await
}

#[tokio::test]
async fn rooms_that_are_long_in_use_at_another_node_are_not_in_the_way_of_those_that_may_go() -> Result {
    const USED: u64 = 1_200;
    const LEFT: u64 = 50;
    let backplane = dialogue::backplane::Local::new();
    let most = usize::try_from(USED + LEFT)?;
    let node = || {
        Running::with(|server| server.backplane(backplane.clone()).max_instances(most).without_frame_limit())
    };
    let other = node().await?;
    let mut sockets = Vec::new();
    for n in 0..USED + LEFT {
        other.server.project(n).trigger(Message { text: "there".into() }).await?;
        if n % 200 == 0 {
            sockets.push(Socket::open(other.address).await?);
        }
        if let Some(socket) = sockets.last_mut().filter(|_| n < USED) {
            assert_eq!(socket.ask(join(&format!("project:{n}"))).await?["type"], "joined", "{n}");
        }
    }
    crate::harness::until("it is known who is where", async || {
        for n in 0..USED {
            let members = backplane.members(&format!("project:{n}")).await;
            if members.is_ok_and(|members| members.is_empty()) {
                return false;
            }
        }
        true
    })
    .await?;
    let one = node().await?;
    let mut stranger = Socket::open(one.address).await?;
    assert_eq!(pass_by(&mut stranger, "project:5000").await?["type"], "joined");
    for (n, there) in [(0, true), (USED - 1, true), (USED, false), (USED + LEFT - 1, true)] {
        assert_eq!(one.server.project(n).describe().await?.is_some(), there, "{n}");
    }
    one.stop().await?;
    other.stop().await
}

/// Said by nobody.
#[dialogue::event]
#[derive(Debug)]
pub(crate) struct Rare {}

dialogue::rooms! {
    pub(crate) struct Library;

    #[room(retain(events = 100_000))]
    shelf: [Message, Rare] via [websocket];
}

#[tokio::test]
async fn a_page_of_history_looks_at_a_bounded_number_of_events() -> Result {
    for stored in [false, true] {
        let server = Library::server();
        let server = if stored { server.store(dialogue::store::Memory::new()) } else { server };
        let server = server.build().await?;
        let routes = server.router();
        let running = Running::serve(server, routes).await?;
        for n in 0..22_000 {
            running.server.shelf().trigger(Message { text: n.to_string() }).await?;
        }
        let mut socket = Socket::join(running.address, "shelf").await?;
        let (mut pages, mut before) = (0, Value::Null);
        loop {
            let mut ask_for = json!({ "type": "getHistory", "id": 1, "roomId": "shelf", "event": "rare" });
            let mut path = "/rooms/shelf/history?event=rare".to_owned();
            if let Some(before) = before.as_u64() {
                ask_for["before"] = json!(before);
                path += &format!("&before={before}");
            }
            let page = socket.ask(ask_for).await?;
            assert_eq!(page["events"], json!([]), "{page}");
            let (_, body) = ask(running.address, "GET", &path, "").await?;
            let over_http: Value = serde_json::from_str(&body)?;
            assert_eq!((&over_http["more"], &over_http["next"]), (&page["more"], &page["next"]));
            pages += 1;
            assert_eq!(page["next"].is_u64(), page["more"] == true, "{page}");
            if page["more"] == false {
                break;
            }
            assert!(before.is_null() || page["next"].as_u64() < before.as_u64(), "{page} goes on");
            before = page["next"].clone();
        }
        assert!(pages > 2, "{pages} pages");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_watches_at_another_node_hears_of_a_room_that_made_space() -> Result {
    let backplane = dialogue::backplane::Local::new();
    let node = || Running::with(|server| server.backplane(backplane.clone()).max_instances(3));
    let (one, other) = (node().await?, node().await?);
    for n in 1..=3 {
        one.server.project(n).trigger(Message { text: "there".into() }).await?;
    }
    let mut watcher = Socket::open(other.address).await?;
    watcher.ask(json!({ "type": "listRooms", "id": 1, "watch": true })).await?;
    // In memory at the other node, too.
    assert_eq!(other.server.project(1).history().await?.events.len(), 1);
    other.server.project(2).trigger(Message { text: "again".into() }).await?;
    let mut stranger = Socket::open(one.address).await?;
    pass_by(&mut stranger, "project:9").await?;
    let gone = loop {
        let frame = watcher.next().await?;
        if frame["type"] == "roomDeleted" {
            break frame["roomId"].clone();
        }
    };
    assert!(gone == "project:1" || gone == "project:3", "{gone} was left last");
    let key = gone.as_str().and_then(|room_id| room_id.strip_prefix("project:")).ok_or("no room")?.parse()?;
    crate::harness::until("it is gone at the other node", async || {
        other.server.project(key).describe().await.is_ok_and(|described| described.is_none())
    })
    .await?;
    one.stop().await?;
    other.stop().await
}
