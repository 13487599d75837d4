//! A server and its store: what outlives which, and what a store that fails costs.
//!
//! Nearly all with a clock that stands still while anything is done: a slow machine makes nobody's patience end.
#![cfg(feature = "server")]

mod faults;
mod faulty;
mod past;
mod peers;
mod restarts;
mod rooms;

use dialogue::{Refusal, store::Store, wire::Accepted};

/// Said by a member.
#[dialogue::event]
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What.
    pub text: String,
}

/// Kept for an hour, and the last three only.
#[dialogue::event(retain(events = 3, age = 1h))]
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What.
    pub text: String,
}

/// Heard by whoever is there.
#[dialogue::event(ephemeral)]
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// How loud.
    pub volume: u8,
}

/// What a project holds.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Board {
    /// What is to be done.
    pub tasks: Vec<String>,
}

dialogue::rooms! {
    pub struct Acme;

    #[room(retain(events = 10_000))]
    chat: [Message, Note, Noise] via [websocket, sse];

    #[room(retain(events = 20))]
    short: [Message] via [websocket];

    #[room(retain(bytes = 4KiB))]
    small: [Message] via [websocket];

    #[room(retain(age = 1h))]
    young: [Message] via [websocket];

    #[room(wait = 30s)]
    patient: [Message, Noise] via [websocket];

    #[room(capacity = 50, state = Board)]
    project(u64): [Message] via [websocket];
}

dialogue::rooms! {
    pub struct Vault;

    #[room(retain(forever), audit)]
    audited: [Message] via [websocket];
}

pub(crate) async fn serve(store: impl Store) -> AcmeServer {
    Acme::server().store(store).build().await.expect("the store can be read")
}

pub(crate) async fn say(server: &AcmeServer, text: impl Into<String>) -> Result<Accepted, Refusal> {
    server.chat().trigger(Message { text: text.into() }).await
}

/// What is said in the chat, oldest first.
pub(crate) async fn said(server: &AcmeServer) -> Vec<(u64, String)> {
    let mut said = Vec::new();
    let mut after = 0;
    loop {
        let page =
            server.chat().history().after(after).oldest_first().limit(1_000).await.expect("it is read");
        for delivery in page.events {
            if let ChatEvent::Message(message) = delivery.event {
                said.push((delivery.seq.expect("numbered"), message.text));
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return said,
        }
    }
}
