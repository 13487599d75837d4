//! Bounds on what a client may take, whatever it sends and how slowly.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Result, Running, Socket, ask, connect, is_refused, post, soon};

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels) + "1", "}".repeat(levels))
}

#[tokio::test]
async fn json_has_a_depth() -> Result {
    let running = Running::with(|server| server.max_depth(8)).await?;
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
    let running = Running::with(|server| server.max_subscriptions(3)).await?;
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
    let running = Running::with(|server| server.max_history(5)).await?;
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
async fn the_head_of_a_request_has_a_size() -> Result {
    let running = Running::with(|server| server.max_head(8 << 10)).await?;
    let headers = |bytes| format!("X-Padding: {}\r\n", "x".repeat(bytes));
    assert!(ask(running.address, "GET", "/health", &headers(4 << 10)).await?.0.starts_with("HTTP/1.1 200"));
    assert!(ask(running.address, "GET", "/health", &headers(16 << 10)).await?.0.starts_with("HTTP/1.1 431"));
    running.stop().await
}

#[tokio::test]
async fn a_head_comes_in_time_or_not_at_all() -> Result {
    let running = Running::with(|server| server.head_within(Duration::from_millis(200))).await?;
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
