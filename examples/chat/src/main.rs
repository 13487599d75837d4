//! A chat in the browser: `cargo run -p chat`, then open two windows.

mod page;

/// Said by a member.
#[dialogue::event]
struct Message {
    #[validate(length(min = 1, max = 2000))]
    text: String,
    /// How the author wants to be called; who it is, the event's `from` says.
    #[validate(length(min = 1, max = 40))]
    name: String,
}

/// Somebody began to type, or stopped.
#[dialogue::event(ephemeral)]
struct Typing {
    active: bool,
    #[validate(length(min = 1, max = 40))]
    name: String,
}

dialogue::rooms! {
    /// Where everybody talks; who comes sees the last 50 messages.
    #[room(name = "Chat", sync = 50, retain(events = 1_000))]
    chat: [Message, Typing] via [websocket, sse];
}

#[tokio::main]
async fn main() -> dialogue::Result<()> {
    let server = Rooms::server().build().await?;
    let app = page::routes().merge(server.router());

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    listening.serve(app).await
}
