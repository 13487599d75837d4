//! What instances of keyed rooms and their members cost, and whether joins cost more where there are many rooms.
//!
//! `cargo bench -p dialogue-tests --bench rooms` holds 10,000 instances with 3 members each in this process, over real
//! sockets, and prints one table: bytes by the process' resident memory, so client and allocator included, and the median
//! time of a join and a leave with 10 rooms and with 100,000. Memory is Linux's (`/proc`).

use std::{fs, net::SocketAddr, time::Duration};

use dialogue::{Server, server::NewRoom};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message as Frame};

/// Said by a member.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// What is said.
    pub text: String,
}

dialogue::rooms! {
    pub struct Acme;
    project(u64): [Message] via [websocket];
}

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
type Socket = WebSocketStream<TcpStream>;

const INSTANCES: u64 = 10_000;
const MEMBERS: u64 = 3;
/// Rooms that each connection is in.
const SHARE: u64 = 100;
const FEW: u64 = 10;
const MANY: u64 = 100_000;

fn main() -> Result {
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result {
    let server = Acme::server().max_instances(200_000).without_frame_limit().build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (serving, routes) = (Server::clone(&server), server.router());
    tokio::spawn(async move { serving.serve_until(routes, listener, std::future::pending()).await });

    let mut walker = open(address).await?;
    create(&server, 0..FEW).await?;
    let few = join_and_leave(&mut walker).await?;

    // They are connected before anything is measured, so that what is measured is the membership.
    let mut crowd = Vec::new();
    for _ in 0..INSTANCES / SHARE * MEMBERS {
        crowd.push(open(address).await?);
    }
    let before = resident();
    create(&server, FEW..FEW + INSTANCES).await?;
    let with_instances = resident();
    for (number, socket) in (0..).zip(&mut crowd) {
        let first = FEW + number / MEMBERS * SHARE;
        for room in first..first + SHARE {
            ask(socket, "join", room).await?;
        }
    }
    let with_members = resident();
    create(&server, FEW + INSTANCES..MANY).await?;
    let many = join_and_leave(&mut walker).await?;

    println!("\n| | |\n|---|---|");
    println!("| bytes/instance | {} |", with_instances.saturating_sub(before) / INSTANCES);
    println!("| bytes/member | {} |", with_members.saturating_sub(with_instances) / (INSTANCES * MEMBERS));
    println!("| join and leave with {FEW} rooms, µs | {:.1} |", few.as_secs_f64() * 1e6);
    println!("| join and leave with {MANY} rooms, µs | {:.1} |", many.as_secs_f64() * 1e6);
    println!("| of it | {:.2} |", many.as_secs_f64() / few.as_secs_f64());
    Ok(())
}

async fn create(server: &AcmeServer, rooms: std::ops::Range<u64>) -> Result {
    for room in rooms {
        server.project(room).create(NewRoom::new()).await?;
    }
    Ok(())
}

/// The median of a join and a leave, of rooms that are there from the start.
async fn join_and_leave(socket: &mut Socket) -> Result<Duration> {
    const ROUNDS: u64 = 5_000;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let begin = Instant::now();
        ask(socket, "join", round % FEW).await?;
        ask(socket, "leave", round % FEW).await?;
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

async fn open(address: SocketAddr) -> Result<Socket> {
    let wire = TcpStream::connect(address).await?;
    wire.set_nodelay(true)?;
    let (mut socket, _) = client_async("ws://localhost/ws", wire).await?;
    // `connected`.
    socket.next().await.ok_or("closed")??;
    Ok(socket)
}

/// Asks, and waits for the reply.
async fn ask(socket: &mut Socket, kind: &str, room: u64) -> Result {
    let request = json!({ "type": kind, "id": 1, "roomId": format!("project:{room}") });
    socket.send(Frame::text(request.to_string())).await?;
    let reply: Value = serde_json::from_str(socket.next().await.ok_or("closed")??.to_text()?)?;
    if reply["type"] == "error" { Err(reply.to_string().into()) } else { Ok(()) }
}

/// Bytes of memory that this process has resident.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
