//! Where the channels are served, and what can't be built.

use std::{
    future::IntoFuture,
    panic::{AssertUnwindSafe, catch_unwind},
};

use axum::{
    Router,
    routing::{any, get, post as post_to},
};
use dialogue::{
    Server,
    server::{Health, ServerBuilder},
};
use serde_json::{Value, json};

use crate::harness::{
    Acme, AcmeClient, Message, Result, Running, Socket, Stream, ask, connect, post, soon, until,
};

dialogue::rooms! {
    struct Board;

    posts: [Message] via [sse];
}

#[dialogue::event(push(title = "Alert", body = "{text}"))]
struct Alert {
    text: String,
}

dialogue::rooms! {
    struct Pushed;

    alerts: [Alert] via [sse, webpush];
}

#[tokio::test]
async fn without_websocket_there_is_none() -> Result {
    let server = Board::server().without_websocket().build().await?;
    let routes = Server::router(&server);
    let running = Running::serve(server, routes).await?;
    assert_eq!(Socket::refusal(running.address, "/ws").await?, 404);
    let mut stream = Stream::open(running.address, "room=posts", "").await?;
    running.server.posts().trigger(Message { text: "hello".to_owned() }).await?;
    assert_eq!(stream.events(1).await?[0]["data"], json!({ "text": "hello" }));
    drop(stream);
    running.stop().await
}

#[tokio::test]
async fn the_channels_are_where_the_application_wants_them() -> Result {
    let running = Running::with(|server| server.websocket_at("/realtime").sse_at("/live")).await?;
    assert_eq!(Socket::refusal(running.address, "/ws").await?, 404);
    works_below(&running, "", "/realtime", "/live").await?;
    running.stop().await
}

#[tokio::test]
async fn the_router_nests_below_a_path() -> Result {
    let server = Acme::server().build().await?;
    let routes = Router::new().nest("/rt", Server::router(&server));
    let running = Running::serve(server, routes).await?;
    assert_eq!(Socket::refusal(running.address, "/ws").await?, 404);
    works_below(&running, "/rt", "/ws", "/events").await?;
    running.stop().await
}

/// What is triggered over HTTP reaches a socket and a stream.
async fn works_below(running: &Running, path: &str, websocket: &str, sse: &str) -> Result {
    let mut socket = Socket::over(connect(running.address).await?, &format!("{path}{websocket}")).await?;
    socket.enter("chat", Value::Null).await?;
    let wire = connect(running.address).await?;
    let mut stream = Stream::over(wire, &format!("{path}{sse}?room=chat"), "").await?;
    let trigger = format!("{path}/rooms/chat/events/message");
    let (status, ok) =
        post(running.address, &trigger, "Idempotency-Key: once\r\n", r#"{"text":"hello"}"#).await?;
    assert!(status == 200 && ok["type"] == "ok", "{status} {ok}");
    let event = socket.events(1).await?.remove(0);
    assert_eq!(event["eventId"], ok["eventId"]);
    assert_eq!(stream.events(1).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn what_is_left_out_or_moved_is_no_longer_there() -> Result {
    let running = Running::with(|server| server.without_http().health_at("/healthz")).await?;
    for (path, status) in [("/health", 404), ("/healthz", 200), ("/rooms", 404), ("/push/key", 404)] {
        assert_eq!(
            ask(running.address, "GET", path, "").await?.0.split(' ').nth(1),
            Some(&*status.to_string()),
            "{path}"
        );
    }
    Socket::join(running.address, "chat").await?;
    running.stop().await?;

    let bare = Board::server().without_http().without_health().without_websocket().without_sse();
    assert!(bare.build().await.is_err());
    let server = Board::server().without_http().without_health().without_websocket().build().await?;
    let routes = server.router();
    let running = Running::serve(server, routes).await?;
    drop(Stream::open(running.address, "room=posts", "").await?);
    running.stop().await
}

async fn own() -> &'static str {
    "own"
}

/// Checks the status line, and the body if it is expected to be the application's own.
async fn answers(
    running: &Running,
    method: &str,
    path: &str,
    status: u16,
    allow: Option<&str>,
) -> Result<String> {
    let (head, body) = ask(running.address, method, path, "").await?;
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let allowed = lines.filter(|(name, _)| name.eq_ignore_ascii_case("allow")).map(|(_, value)| value).next();
    assert_eq!(
        (head.split(' ').nth(1), allowed),
        (Some(&*status.to_string()), allow),
        "{method} {path}: {head}"
    );
    Ok(body)
}

#[tokio::test]
async fn the_applications_own_routes_go_first() -> Result {
    for ours_first in [true, false] {
        let server = Acme::server().build().await?;
        let theirs = Router::new()
            .route("/health", get(own))
            .route("/rooms", get(own).post(own))
            .route("/push", get(own))
            .route("/push/key", post_to(own))
            .route("/rooms/{id}", get(own))
            .route("/events", post_to(own))
            .fallback(own);
        let ours = Server::router(&server);
        let app = if ours_first { ours.merge(theirs) } else { theirs.merge(ours) };
        let running = Running::serve(server, app).await?;
        for (method, path) in [
            ("GET", "/health"),
            ("GET", "/rooms"),
            ("POST", "/rooms"),
            ("GET", "/push"),
            ("GET", "/rooms/chat"),
            ("POST", "/events"),
            ("GET", "/anything"),
        ] {
            assert_eq!(answers(&running, method, path, 200, None).await?, "own", "{method} {path}");
        }
        assert_eq!(answers(&running, "HEAD", "/health", 200, None).await?, "");
        // Methods that nobody has.
        answers(&running, "PUT", "/health", 405, Some("GET,HEAD")).await?;
        answers(&running, "DELETE", "/rooms", 405, Some("GET,HEAD,POST")).await?;
        // The methods that they leave are Dialogue's.
        let declared = answers(&running, "DELETE", "/rooms/chat", 403, None).await?;
        assert!(declared.contains("PERMISSION_DENIED"), "{declared}");
        let history = answers(&running, "GET", "/rooms/chat/history", 200, None).await?;
        assert!(history.contains(r#""type":"history""#), "{history}");
        works_below(&running, "", "/ws", "/events").await?;
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn where_no_room_is_pushed_the_paths_of_devices_are_free() -> Result {
    let server = Board::server().build().await?;
    let app = Server::router(&server).route("/push", any(own)).route("/push/key", any(own));
    let running = Running::serve(server, app).await?;
    for (method, path) in [("GET", "/push"), ("POST", "/push"), ("GET", "/push/key")] {
        let (head, body) = ask(running.address, method, path, "").await?;
        assert_eq!((head.split(' ').nth(1), &*body), (Some("200"), "own"), "{method} {path}");
    }
    running.stop().await?;

    let server = Pushed::server().build().await?;
    let app = Server::router(&server).route("/push", get(own)).route("/push/key", post_to(own));
    let running = Running::serve(server, app).await?;
    for (method, path, status) in
        [("GET", "/push", "200"), ("DELETE", "/push", "400"), ("GET", "/push/key", "400")]
    {
        let (head, body) = ask(running.address, method, path, "").await?;
        assert_eq!(head.split(' ').nth(1), Some(status), "{method} {path}: {head} {body}");
    }
    running.stop().await
}

#[tokio::test]
async fn without_routes_of_the_applications_own_dialogue_answers_as_ever() -> Result {
    let running = Running::start().await?;
    assert_eq!(answers(&running, "GET", "/health", 200, None).await?, r#"{"status":"ok"}"#);
    assert_eq!(answers(&running, "HEAD", "/health", 200, None).await?, "");
    answers(&running, "PUT", "/health", 405, Some("GET,HEAD")).await?;
    answers(&running, "DELETE", "/rooms/chat/events/message", 405, Some("POST")).await?;
    running.stop().await
}

#[tokio::test]
async fn a_page_that_would_hide_a_channel_is_no_silent_loss() -> Result {
    let server = Acme::server().build().await?;
    for (path, theirs) in
        [("/ws", get(own)), ("/events", get(own)), ("/health", any(own)), ("/rooms/{name}/history", get(own))]
    {
        let ours = Server::router(&server);
        let merged = catch_unwind(AssertUnwindSafe(|| Router::<()>::new().route(path, theirs).merge(ours)));
        assert!(merged.is_err(), "{path}");
    }
    // Below a path of its own there is nothing to clash with, and a channel that was moved doesn't.
    let _nested: Router = Router::new().route("/events", get(own)).nest("/rt", Server::router(&server));
    let moved = Acme::server().sse_at("/live").build().await?;
    let _merged: Router = Router::new().route("/events", get(own)).merge(Server::router(&moved));
    Ok(())
}

#[tokio::test]
async fn an_own_health_check_says_what_ours_would() -> Result {
    let server = Acme::server().build().await?;
    let health = {
        let server = server.clone();
        move || async move { server.health() }
    };
    let app = Router::new().route("/health", get(health)).merge(Server::router(&server));
    let running = Running::serve(server, app).await?;
    assert_eq!(answers(&running, "GET", "/health", 200, None).await?, r#"{"status":"ok"}"#);
    assert_eq!(running.server.health(), Health::Ok);
    // A stream that nobody ends keeps the node there while it drains.
    let stream = Stream::open(running.address, "room=chat", "").await?;
    let server = running.server.clone();
    let draining = tokio::spawn(async move { server.drain().await });
    until("the node drains", async || running.server.health() == Health::Draining).await?;
    let body: Value = serde_json::from_str(&answers(&running, "GET", "/health", 503, None).await?)?;
    assert_eq!(body["status"], "draining");
    drop((stream, draining));
    running.stop().await
}

#[tokio::test]
async fn everything_works_below_a_path() -> Result {
    const LISTED: &str = "https://acme.example";
    const KEY: &str = "a key of the backend of this test";
    let server = Acme::server().inspector().server_key(KEY).allow_origin(LISTED).build().await?;
    let theirs =
        Router::new().route("/health", get(own)).route("/events", get(own)).route("/rooms", any(own));
    let app = theirs.nest("/realtime", Server::router(&server));
    let running = Running::serve(server, app).await?;
    works_below(&running, "/realtime", "/ws", "/events").await?;
    assert_eq!(answers(&running, "GET", "/realtime/health", 200, None).await?, r#"{"status":"ok"}"#);
    // The page asks for its parts relative to where it is.
    let page = answers(&running, "GET", "/realtime/dialogue", 200, None).await?;
    for part in page.split('"').filter(|part| part.starts_with("dialogue/")) {
        answers(&running, "GET", &format!("/realtime/{part}"), 200, None).await?;
    }
    let bearer = format!("Authorization: Bearer {KEY}\r\n");
    let (head, body) = ask(running.address, "GET", "/realtime/dialogue/inspect?room=chat", &bearer).await?;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("instances"), "{head} {body}");
    let preflight = format!("Origin: {LISTED}\r\nAccess-Control-Request-Method: POST\r\n");
    let (head, _) =
        ask(running.address, "OPTIONS", "/realtime/rooms/chat/events/message", &preflight).await?;
    assert!(head.starts_with("HTTP/1.1 204") && head.contains(LISTED), "{head}");

    let client = AcmeClient::connect(format!("ws://{}/realtime", running.address)).into_future().await?;
    let mut chat = client.chat().join().await?;
    let accepted = chat.send(Message { text: "from below".to_owned() }).await?;
    assert_eq!(soon("the event", chat.next()).await??.and_then(|delivery| delivery.seq), accepted.seq);
    running.stop().await
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_not_built() {
    type Configure = fn(ServerBuilder<Acme>) -> ServerBuilder<Acme>;
    let cases: [(Configure, &str); 10] = [
        (|server| server.without_websocket().without_sse(), "`chat` is reachable over none"),
        (
            |server| server.websocket_at("ws"),
            "`ws` of the WebSocket (`websocket_at`) doesn't start with `/`: write `/ws`",
        ),
        (|server| server.server_key("short"), "at least 16 bytes"),
        (
            |server| server.sse_at("/ws"),
            "`/ws` of the event stream (`sse_at`) is also that of the WebSocket (`websocket_at`)",
        ),
        (|server| server.websocket_at("/health"), "(`health_at`) is also that of the WebSocket"),
        (|server| server.health_at("/events"), "move one of them, or leave one out"),
        (|server| server.websocket_at("/rooms"), "is also that of the HTTP API (`without_http`)"),
        (|server| server.websocket_at("/{ws"), "`/{ws` of the WebSocket (`websocket_at`) is a pattern"),
        (|server| server.allow_origin("https://acme.example/"), "`https://acme.example/` is not an origin"),
        (|server| server.allow_origin("null"), "`null` is not an origin"),
    ];
    for (configure, why) in cases {
        let error = configure(Acme::server()).build().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() -> Result {
    let holder = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?;
    let error = Server::bind(taken).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    assert!(Server::bind("no such host.invalid:1").await.is_err());
    Ok(())
}
