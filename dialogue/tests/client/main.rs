//! The client against servers that do what they are told.
#![cfg(feature = "client")]

mod fake;
#[cfg(feature = "server")]
mod real;
mod socket;
mod stream;

use std::time::Duration;

use dialogue::client::Connect;

/// Said by a member.
#[dialogue::event]
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What.
    pub text: String,
}

/// Somebody types.
#[dialogue::event(ephemeral)]
#[derive(Debug, Clone, PartialEq)]
pub struct Typing {
    /// Or no longer.
    pub active: bool,
}

/// From the server.
#[dialogue::event(from = server)]
#[derive(Debug, Clone, PartialEq)]
pub struct NewPost {
    /// Its headline.
    pub title: String,
}

dialogue::rooms! {
    pub struct Acme;
    #[room(retain(events = 1_000, bytes = 64MiB))]
    chat: [Message, Typing] via [websocket, sse];
    project(u64): [Message] via [websocket];
    #[room(retain(events = 1_000, bytes = 64MiB))]
    feed: [NewPost] via [sse];
}

fn message(text: &str) -> Message {
    Message { text: text.to_owned() }
}

/// A client that loses no time.
fn connect(url: String) -> Connect<AcmeClient> {
    AcmeClient::connect(url).backoff(Duration::from_millis(1), Duration::from_millis(5))
}
