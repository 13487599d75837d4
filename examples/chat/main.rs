//! A chat in the browser: `cargo run --example chat`, then open two windows.

use axum::http::header::CONTENT_TYPE;
use axum::routing::{MethodRouter, get};
use dialogue::prelude::*;

/// Said by a member.
#[dialogue::event]
pub struct Message {
    /// What is said.
    #[validate(length(min = 1, max = 2000))]
    pub text: String,
    /// How the author wants to be called; who it is, the event's `from` says.
    #[validate(length(min = 1, max = 40))]
    pub name: String,
}

/// Somebody began or stopped to type.
#[dialogue::event(ephemeral)]
pub struct Typing {
    /// Whether they type now.
    pub active: bool,
    /// How they want to be called.
    #[validate(length(min = 1, max = 40))]
    pub name: String,
}

dialogue::rooms! {
    /// One room, where everybody talks.
    pub struct Lobby;

    #[room(name = "Chat", sync = 50, retain(events = 1_000))]
    chat: [Message, Typing] via [websocket, sse];
}

#[tokio::main]
async fn main() -> dialogue::Result<()> {
    let server = Lobby::server().build().await?;
    let app = axum::Router::new()
        .route("/", file("text/html", include_str!("page/index.html")))
        .route("/chat.css", file("text/css", include_str!("page/chat.css")))
        .route("/chat.js", file("text/javascript", include_str!("page/chat.js")))
        .route("/messages.js", file("text/javascript", include_str!("page/messages.js")))
        .route("/dialogue.js", file("text/javascript", include_str!("../browser/dialogue.js")))
        .route("/links.js", file("text/javascript", include_str!("../browser/links.js")))
        .merge(server.router());
    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    println!("listening on http://{addr}");
    server.serve(app, addr).await
}

fn file(kind: &'static str, text: &'static str) -> MethodRouter {
    get(move || async move { ([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], text) })
}
