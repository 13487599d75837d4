//! Every form of middleware, in front of a small board. `cargo run -p middleware`, then try what it prints.

mod audit;
mod board;

use std::env;

use audit::Ledger;
use board::Board;
use dialogue::{middleware::Logger, prelude::*};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What middleware is made from: `Audit` keeps its lines in it.
    let ledger = Ledger::default();
    let server = Board::server()
        .state(ledger.clone())
        // For all rooms, outermost first: a shipped one, and one of our own.
        .middleware(Logger::new().payloads().redact(["text"]))
        .middleware(audit::Timing)
        // Of a client, over all rooms.
        .limit(120.per_minute())
        .build()
        .await?;

    // Server code's events pass all of it, too.
    server.notes().trigger(board::Note { text: "welcome; no SPAM, please".into() }).await?;
    server
        .notes()
        .on(async move |note: Delivery<board::Note>| println!("{} is heard: {}", note.from, note.event.text));

    let address = env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listening = server.listen(address).await?;
    let url = format!("http://{}", listening.local_addr());
    println!("listening on {url}; in another terminal:\n");
    for (text, what) in [
        ("hello", "accepted"),
        ("hello", "the same again: Dedup blocks it"),
        ("buy spam now", "masked by ContentFilter"),
        ("", "refused by a closure"),
        ("WHAT IS THIS", "quieter, by a function"),
    ] {
        println!("  {}   # {what}", curl(&url, "note", &format!("{{\"text\":\"{text}\"}}")));
    }
    println!("  {}   # needs a role: RequireRole", curl(&url, "pinned", "{\"note\":1}"));
    println!("  {}   # once a minute: RateLimit\n", curl(&url, "bell", "null"));
    listening.serve(server.router()).await?;
    println!("{} events passed", ledger.count());
    Ok(())
}

fn curl(url: &str, event: &str, data: &str) -> String {
    format!("curl -d '{data}' -H 'content-type: application/json' {url}/rooms/notes/events/{event}")
}
