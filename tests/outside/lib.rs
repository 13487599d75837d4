//! A user's crate, compiled by the suite `features` with each set of features of `dialogue`: nothing else is in scope, and no
//! other crate of the workspace turns a feature on.

use dialogue::prelude::*;

/// A message.
#[dialogue::event]
pub struct Message {
    /// The text.
    pub text: String,
}

/// The state of a connection's user.
#[dialogue::event(ephemeral)]
pub struct Typing {
    /// Begun or stopped.
    pub active: bool,
}

dialogue::rooms! {
    /// The rooms of this crate.
    pub struct Acme;

    /// The chat.
    #[room(retain(events = 100), sync = 10, presence)]
    chat: [Message, Typing] via [websocket, sse];

    /// A project's messages.
    project(u64): [Message] via [websocket];
}

/// Names the parts that are there whatever the features are.
pub fn refusal() -> Refusal {
    Refusal::blocked("no")
}

/// Serves the rooms.
#[cfg(feature = "server")]
pub async fn serve() -> dialogue::Result<()> {
    let server = Acme::server().build().await?;
    server.chat().on(async |message: Delivery<Message>| drop(message));
    let app = axum::Router::new().merge(server.router());
    server.serve(app, "127.0.0.1:0").await
}

/// Reads a room.
#[cfg(feature = "client")]
pub async fn read(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let client = AcmeClient::connect(url).await?;
    let mut chat = client.chat().join().await?;
    while let Some(delivery) = chat.next().await? {
        match delivery.event {
            ChatEvent::Message(message) => drop(message.text),
            ChatEvent::Typing(_) => {}
        }
    }
    Ok(())
}
