//! A chat whose history is in SQLite, through an implementation of `dialogue::store::Store`. Run `cargo run -p
//! custom_store`, write messages, stop it and start it again: the history is still there. The environment variable
//! `DATABASE` names the file (default: `chat.sqlite`).
//!
//! It needs a C compiler (`apt install gcc` on Debian), since the crate `rusqlite` builds its own SQLite.
//!
//! `store.rs` is the store. `cargo test -p custom_store` runs the library's test suite for stores on it.

mod database;
#[path = "../../chat/src/page/mod.rs"]
mod page;
mod store;

use store::Sqlite;

/// A message of a member.
#[dialogue::event]
struct Message {
    #[validate(length(min = 1, max = 2000))]
    text: String,
    /// The display name that the author chose; the event's `from` is the user's id.
    #[validate(length(min = 1, max = 40))]
    name: String,
}

/// A member began to type, or stopped.
#[dialogue::event(ephemeral)]
struct Typing {
    active: bool,
    #[validate(length(min = 1, max = 40))]
    name: String,
}

dialogue::rooms! {
    /// The only room; a member who joins gets the last 50 messages.
    #[room(name = "Chat", sync = 50, retain(events = 100_000))]
    chat: [Message, Typing] via [websocket, sse];
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::var("DATABASE").unwrap_or_else(|_| "chat.sqlite".into());
    let server = Rooms::server().store(Sqlite::open(file)?).build().await?;
    let app = page::routes().merge(server.router());

    let address = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".into());
    let listening = server.listen(address).await?;
    println!("listening on http://{}", listening.local_addr());
    Ok(listening.serve(app).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_history_survives_a_restart() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        for seq in 1..=3 {
            let store = Sqlite::open(folder.path().join("chat.sqlite"))?;
            let server = Rooms::server().store(store).build().await?;
            let hello = Message { text: format!("hello {seq}"), name: "alice".into() };
            assert_eq!(server.chat().trigger(hello).await?.seq, Some(seq));
            let page = server.chat().history().oldest_first().await?;
            let seen: Vec<_> = page.events.iter().map(|event| event.seq).collect();
            assert_eq!(seen, Vec::from_iter((1..=seq).map(Some)));
        }
        Ok(())
    }
}
