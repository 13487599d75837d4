//! The server that the wire protocol's page describes: one room for each part of it, for whoever writes a client or a
//! test suite. It is configured by the environment: `ADDR`, `JWT_SECRET`, `SERVER_KEY`, `STORE`, `MAX_FRAME`,
//! `BACKPLANE`, `ALLOWED_ORIGINS`, `PUSH_KEYS`.
//!
//! Needs OpenSSL's headers, as `alerts` does: `apt install libssl-dev pkg-config` on Debian, `brew install openssl` on macOS;
//! and a C compiler.

mod push;
mod store;

use std::env;

use dialogue::{Jwt, observe::Prometheus, prelude::*, server::ServerBuilder};

/// Said by a member.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// What is said.
    #[filter]
    #[validate(length(min = 1, max = 2000))]
    pub text: String,
}

/// Somebody is at the keyboard, or no longer.
#[dialogue::event(ephemeral)]
#[derive(Debug)]
pub struct Typing {
    /// Whether they are.
    pub active: bool,
}

/// Something was published.
#[dialogue::event(from = server)]
#[derive(Debug)]
pub struct NewPost {
    /// Its headline.
    pub title: String,
}

/// What a share costs now.
#[dialogue::event(latest = symbol, from = server)]
#[derive(Debug)]
pub struct Price {
    /// Of what.
    pub symbol: String,
    /// How much.
    pub cents: i64,
}

/// A task is in another column.
#[dialogue::event]
#[derive(Debug)]
pub struct TaskMoved {
    /// Which.
    pub task: i64,
    /// Where it is now.
    pub column: String,
}

/// A service is down.
#[dialogue::event(from = server, push(title = "{service} is down", body = "{detail}"))]
#[derive(Debug)]
pub struct Alert {
    /// Which.
    pub service: String,
    /// How.
    pub detail: String,
}

dialogue::rooms! {
    /// One room for each part of the protocol.
    pub struct Conformance;

    #[room(retain(events = 1000))]
    chat: [Message, Typing] via [websocket, sse];

    #[room(capacity = 2)]
    small: [Message] via [websocket, sse];

    #[room(limit = 5 per 1s)]
    limited: [Message] via [websocket];

    #[room(retain(events = 20), sync = 10)]
    synced: [Message] via [websocket, sse];

    feed: [NewPost] via [sse];

    ticker: [Price] via [websocket, sse];

    moderated: [Message] via [websocket] with [ContentFilter::words(["spam"])];

    #[room(role = "member")]
    members: [Message] via [websocket];

    #[room(subscribe = [Message])]
    quiet: [Message, Typing] via [websocket];

    #[room(presence)]
    present: [Message] via [websocket];

    project(u64): [Message, TaskMoved] via [websocket, sse];

    alerts: [Alert] via [webpush, websocket];
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    match env::var("JWT_SECRET") {
        // A token need not expire here; one that says when it does, does.
        Ok(secret) => serve(Conformance::server().auth(Jwt::hs256(secret).without_expiry())).await,
        Err(_) => serve(Conformance::server()).await,
    }
}

/// Configures the rest, and serves until it is told to go.
async fn serve<I: Send + Sync + 'static>(
    server: ServerBuilder<Conformance, I>,
) -> Result<(), Box<dyn std::error::Error>> {
    // No limits but those of the rooms, so that load can be tested on it.
    let server = server.echo_at("/echo").without_frame_limit().without_http_limit().without_connect_limit();
    let server = server.metrics(Prometheus::at("/metrics"));
    let mut server = store::from_environment(server).await?;
    if let Ok(path) = env::var("PUSH_KEYS") {
        server = server.push(push::read(&path)?);
    }
    if let Ok(key) = env::var("SERVER_KEY") {
        server = server.server_key(key);
    }
    if let Ok(bytes) = env::var("MAX_FRAME") {
        server = server.max_frame_bytes(bytes.parse()?);
    }
    for origin in
        env::var("ALLOWED_ORIGINS").unwrap_or_default().split(',').filter(|origin| !origin.is_empty())
    {
        server = server.allow_origin(origin.trim());
    }
    let server = server.build().await?;
    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(server.router()).await?;
    Ok(())
}
