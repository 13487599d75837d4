//! What a limit costs that counts 1,000,000 clients, and whether it still holds then.
//!
//! `cargo bench -p dialogue-tests --bench limits` asks a server in this process, without sockets, from 1,000,000 addresses
//! that a proxy tells of, and prints one table: bytes by the process' resident memory (Linux's `/proc`), the time of a
//! request, and who was refused: a client that had nothing left before, and newcomers past the bound.

use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request};
use dialogue::Rate;
use tower_service::Service;

/// Said by nobody.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// What is said.
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;
    chat: [Message] via [websocket];
}

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const CLIENTS: u32 = 1_000_000;
/// The first address, which has nothing left before the others come.
const FIRST: u32 = 0x0100_0000;

fn main() -> Result {
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure())
}

async fn measure() -> Result {
    let day = Rate::new(5, Duration::from_secs(24 * 60 * 60));
    let server =
        Acme::server().behind_proxies(1).limit(day).max_tracked_clients(CLIENTS as usize).build().await?;
    let mut routes = server.router();
    let mut spent = 0;
    while ask(&mut routes, FIRST).await? {
        spent += 1;
    }
    let (before, began) = (resident(), Instant::now());
    for number in 1..CLIENTS * 9 / 10 {
        ask(&mut routes, FIRST + number).await?;
    }
    let (grown, took) = (resident().saturating_sub(before), began.elapsed());
    let mut newcomers = 0_u32;
    for number in CLIENTS..CLIENTS * 2 {
        newcomers += u32::from(ask(&mut routes, FIRST + number).await?);
    }
    let bytes = grown / u64::from(CLIENTS * 9 / 10);
    println!("| {} clients of a limit of {day} | |\n|---|---|", CLIENTS * 9 / 10);
    println!("| memory | {} MB, {bytes} bytes each |", grown / 1_000_000);
    println!("| a request, with the server's answer | {:?} |", took / (CLIENTS * 9 / 10));
    println!("| {CLIENTS} more come: let through, of a bound of {CLIENTS} | {newcomers} |");
    println!("| memory then | {} MB |", resident().saturating_sub(before) / 1_000_000);
    println!(
        "| the first, after its {spent} | {} |",
        if ask(&mut routes, FIRST).await? { "LET THROUGH" } else { "refused" }
    );
    Ok(())
}

/// Whether a request from an address is answered.
async fn ask(routes: &mut Router, address: u32) -> Result<bool> {
    let from = Ipv4Addr::from_bits(address).to_string();
    let request = Request::get("/rooms?limit=1").header("x-forwarded-for", from).body(Body::empty())?;
    Ok(routes.call(request).await?.status() == 200)
}

fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
