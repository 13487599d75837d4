//! The application's own word for why it refuses, on every way that a refusal takes to a client.

use std::future::IntoFuture;

use dialogue::{client::ErrorKind, prelude::*};
use serde_json::{Value, json};

use crate::harness::{Result, Running, Socket, ask, is_refused, post};

#[dialogue::event]
pub(crate) struct Post {
    pub(crate) text: String,
}

async fn few_links<R: Room>(cx: &Cx<R>, post: Post, next: impl Next<R, Post>) -> Flow {
    match post.text.matches("https://").count() {
        0 => next.run(cx, post).await,
        1 => Err(Refusal::invalid("no links, please").with_detail("/text", "holds a link")),
        _ => Err(Refusal::blocked("two links and more").with_reason("too-many-links")),
    }
}

dialogue::rooms! {
    struct Forum;

    board: [Post with [fn few_links]] via [websocket, sse];
    vault: [Post] via [websocket, sse];
    page: [Post] via [sse];
    topic(u64): [Post] via [websocket];
}

/// Says no, and why.
struct Keeper;

impl Hooks for Keeper {
    async fn before_join(&self, _: &Caller<()>, room: &RoomRef<'_>) -> Result<(), Refusal> {
        match room.name() {
            "vault" | "page" => Err(Refusal::join_denied("for subscribers").with_reason("no-plan")),
            _ => Ok(()),
        }
    }

    async fn before_create(&self, _: &Caller<()>, _: &RoomRef<'_>) -> Result<(), Refusal> {
        Err(Refusal::denied("one topic a day").with_reason("daily-quota"))
    }
}

async fn forum() -> Result<Running<ForumServer>> {
    let server = Forum::server().hooks(Keeper).build().await?;
    let routes = server.router();
    Running::serve(server, routes).await
}

const LINKS: &str = "https://a https://b";

fn says(frame: &Value, code: &str, reason: &str) -> bool {
    is_refused(frame, code) && frame["reason"] == reason
}

#[tokio::test]
async fn a_socket_is_told_the_reason() -> Result {
    let running = forum().await?;
    let mut socket = Socket::join(running.address, "board").await?;
    let post =
        json!({ "type": "trigger", "id": 1, "roomId": "board", "event": "post", "data": { "text": LINKS } });
    let reply = socket.ask(post).await?;
    assert!(says(&reply, "BLOCKED", "too-many-links") && reply["message"] == "two links and more", "{reply}");
    let reply = socket.ask(json!({ "type": "join", "id": 2, "roomId": "vault" })).await?;
    assert!(says(&reply, "JOIN_DENIED", "no-plan"), "{reply}");
    let reply = socket.ask(json!({ "type": "createRoom", "id": 3, "roomId": "topic:1" })).await?;
    assert!(says(&reply, "PERMISSION_DENIED", "daily-quota"), "{reply}");
    // A refusal without a reason has no such field.
    let reply = socket.ask(json!({ "type": "join", "id": 4, "roomId": "cellar" })).await?;
    assert!(reply.get("reason").is_none(), "{reply}");
    running.stop().await
}

#[tokio::test]
async fn http_and_a_refused_stream_are_told_the_reason() -> Result {
    let running = forum().await?;
    let event = json!({ "text": LINKS }).to_string();
    let (status, body) = post(running.address, "/rooms/board/events/post", "", &event).await?;
    assert!(status == 422 && says(&body, "BLOCKED", "too-many-links"), "{status} {body}");
    for path in ["/rooms/vault/history", "/events?room=page"] {
        let (head, body) = ask(running.address, "GET", path, "Accept: text/event-stream\r\n").await?;
        let body = serde_json::from_str(&body)?;
        assert!(head.starts_with("HTTP/1.1 403") && says(&body, "JOIN_DENIED", "no-plan"), "{head} {body}");
    }
    running.stop().await
}

#[tokio::test]
async fn a_rule_of_the_application_names_the_field() -> Result {
    let running = forum().await?;
    let (status, body) =
        post(running.address, "/rooms/board/events/post", "", r#"{"text":"https://a"}"#).await?;
    assert!(status == 422 && is_refused(&body, "VALIDATION_FAILED"), "{status} {body}");
    assert_eq!(body["message"], "no links, please");
    assert_eq!(body["details"], json!([{ "path": "/text", "message": "holds a link" }]));
    running.stop().await
}

#[tokio::test]
async fn the_rust_client_reads_the_reason() -> Result {
    let running = forum().await?;
    let client = ForumClient::connect(format!("ws://{}", running.address)).into_future().await?;
    let board = client.board().join().await?;
    let blocked = board.send(Post { text: LINKS.to_owned() }).await.unwrap_err();
    assert_eq!((blocked.code(), blocked.reason()), (Some(Code::Blocked), Some("too-many-links")));
    assert_eq!(blocked.to_string(), "the server refused: two links and more");
    let over_socket = client.vault().join().await.unwrap_err();
    let over_stream = client.page().join().await.unwrap_err();
    for denied in [over_socket, over_stream] {
        assert_eq!((denied.kind(), denied.reason()), (ErrorKind::Refused, Some("no-plan")));
        assert_eq!(denied.code(), Some(Code::JoinDenied));
    }
    let missing = board.history().limit(0).await.unwrap_err();
    assert_eq!(missing.reason(), None);
    running.stop().await
}
