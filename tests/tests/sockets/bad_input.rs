//! Anything at all, sent to a real socket: the server answers or closes, and goes on.
//!
//! `DIALOGUE_FUZZ_SECONDS` (3) says for how long; `DIALOGUE_FUZZ_SEED` repeats a run.

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Result, Running, Socket, connect, soon};

/// What a client would send, as the bytes of a connection.
const PLAIN: [&str; 6] = [
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: dialogue.v1, dialogue.token.YQ\r\n\r\n",
    "GET /events?room=chat&room=project%3A7&event=message&since=chat%3Dk.1.e HTTP/1.1\r\nHost: x\r\nLast-Event-ID: chat=k2f9.42.E;project:7=k.1.e\r\nConnection: close\r\n\r\n",
    "POST /rooms/chat/events/message HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{\"text\":\"a\"}",
    "GET /rooms/chat/history?event=message&before=41&limit=50 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /rooms?limit=100&after=chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nConnection: close\r\n\r\n",
];

/// How many such clients come at once.
const CROWD: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_bring_the_server_down() -> Result {
    let seed = number("DIALOGUE_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("DIALOGUE_FUZZ_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let running = Running::with(|server| server.max_frame_bytes(4 << 10)).await?;
    let end = Instant::now() + Duration::from_secs(number("DIALOGUE_FUZZ_SECONDS").unwrap_or(3));
    while Instant::now() < end {
        let crowd: Vec<_> =
            (0..CROWD).map(|_| tokio::spawn(throw(running.address, bytes(&mut rng)))).collect();
        for thrown in crowd {
            thrown.await??;
        }
        goes_on(running.address).await?;
    }
    running.stop().await
}

/// Sends `bytes`, and reads until the server closes, or has opened an event stream: that has no end of its own, and what
/// follows its request unread hides from the server that the client has said all.
async fn throw(address: SocketAddr, bytes: Vec<u8>) -> Result {
    let mut stream = connect(address).await?;
    // It may close before it has everything.
    let _ = stream.write_all(&bytes).await;
    let _ = stream.shutdown().await;
    let mut sink = vec![0; 4 << 10];
    soon(&format!("the end after {:?}", String::from_utf8_lossy(&bytes)), async {
        let mut answer = Vec::new();
        while let Ok(read @ 1..) = stream.read(&mut sink).await {
            answer.extend_from_slice(&sink[..read]);
            if String::from_utf8_lossy(&answer).contains("content-type: text/event-stream") {
                return;
            }
        }
    })
    .await
}

/// A well-behaved client is served as ever.
async fn goes_on(address: SocketAddr) -> Result {
    let mut socket = Socket::join(address, "project:1").await?;
    socket.say("project:1", "hello").await?;
    assert_eq!(socket.events(1).await?[0]["data"], json!({ "text": "hello" }));
    socket.close().await
}

/// A request, in one of four with noise in it, and after an upgrade frames of any kind.
fn bytes(rng: &mut Rng) -> Vec<u8> {
    let which = rng.usize(..PLAIN.len() + 2).saturating_sub(2);
    let mut bytes = PLAIN[which].as_bytes().to_vec();
    if rng.u8(..4) == 0 {
        spoil(&mut bytes, rng);
    }
    if which == 0 {
        for _ in 0..rng.usize(..8) {
            frame(&mut bytes, rng);
        }
    }
    bytes
}

fn spoil(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..6).min(bytes.len()) {
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.insert(at, rng.u8(..)),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            _ => bytes.truncate(at + 1),
        }
    }
}

/// A WebSocket frame (RFC 6455, section 5.2) whose head and payload may be anything.
fn frame(out: &mut Vec<u8>, rng: &mut Rng) {
    let mut payload = match rng.u8(..4) {
        0 => (0..rng.usize(..200)).map(|_| rng.u8(..)).collect(),
        1 => vec![b'x'; rng.usize(..8 << 10)],
        _ => br#"{"type":"join","id":1,"roomId":"chat","since":{"epoch":"k","seq":18446744073709551615}}"#
            .to_vec(),
    };
    if rng.bool() && !payload.is_empty() {
        spoil(&mut payload, rng);
    }
    let head = if rng.u8(..8) == 0 { rng.u8(..) } else { 0x81 };
    let mask: [u8; 4] = std::array::from_fn(|_| rng.u8(..));
    out.push(head);
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}
