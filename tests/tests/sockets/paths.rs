//! Where the channels are served, and what can't be built.

use axum::Router;
use dialogue::{Server, ServerBuilder};
use serde_json::{Value, json};

use crate::harness::{Acme, Message, Result, Running, Socket, Stream, connect, post};

dialogue::rooms! {
    struct Board;

    posts: [Message] via [sse];
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
async fn a_configuration_that_contradicts_itself_is_not_built() {
    type Configure = fn(ServerBuilder<Acme>) -> ServerBuilder<Acme>;
    let cases: [(Configure, &str); 8] = [
        (|server| server.without_websocket().without_sse(), "`chat` is reachable over none"),
        (|server| server.websocket_at("ws"), "`ws` begins with no `/`"),
        (|server| server.server_key("short"), "at least 16 bytes"),
        (|server| server.sse_at("/ws"), "`/ws`"),
        (|server| server.websocket_at("/health"), "`/health`"),
        (|server| server.websocket_at("/{ws"), "`/{ws`"),
        (|server| server.allow_origin("https://acme.example/"), "`https://acme.example/` is no origin"),
        (|server| server.allow_origin("null"), "`null` is no origin"),
    ];
    for (configure, why) in cases {
        let error = configure(Acme::server()).build().await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() -> Result {
    let taken = Server::bind("127.0.0.1:0").await?.local_addr()?;
    let _holder = std::net::TcpListener::bind(taken)?;
    let error = Server::bind(taken).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()), "{error}");
    assert!(Server::bind("no such host.invalid:1").await.is_err());
    Ok(())
}
