//! Requests over HTTP, and the connection that they come over.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Result, Running, connect, soon};

/// A request is refused before its body is needed; a client that sends the body after the head must still get the refusal, and
/// the next answer on the same connection.
#[tokio::test]
async fn a_refused_post_leaves_its_connection_usable() -> Result {
    let running = Running::start().await?;
    let mut stream = connect(running.address).await?;
    let head = format!(
        "POST /rooms/none/events/message HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 12\r\n\r\n",
        running.address
    );
    stream.write_all(head.as_bytes()).await?;
    let early = tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await;
    assert!(early.is_err(), "it is answered before its body came: {early:?}");
    stream.write_all(br#"{"text":"a"}"#).await?;
    let next = format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", running.address);
    stream.write_all(next.as_bytes()).await?;
    let mut answers = String::new();
    soon("both answers", stream.read_to_string(&mut answers)).await??;
    assert!(answers.starts_with("HTTP/1.1 404") && answers.contains("ROOM_NOT_FOUND"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200") && answers.ends_with(r#"{"status":"ok"}"#), "{answers}");
    running.stop().await
}
