//! What a flood of garbage does to somebody who behaves.
//!
//! `cargo bench -p dialogue-tests --bench flood` starts a server as a process of its own, with its defaults, and asks it for
//! the acknowledgement of an event every 12 ms: while nothing else happens, and while 50 sockets send 10,000 frames of
//! garbage a second, which come back when they are closed. The rounds alternate, so that what else the machine does meets
//! both; it prints the percentiles of both and how they compare.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use dialogue::Server;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval},
};
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
    chat: [Message] via [websocket];
}

type Result<T = (), E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;
type Socket = WebSocketStream<TcpStream>;

const FLOODERS: u64 = 50;
const FRAMES_PER_SECOND: u64 = 10_000;
const ROUNDS: usize = 6;
const ROUND: Duration = Duration::from_secs(8);
const PACE: Duration = Duration::from_millis(12);

/// What the flood has come to.
#[derive(Default)]
struct Flood {
    on: AtomicBool,
    frames: AtomicU64,
    closed: AtomicU64,
}

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.get(1).is_some_and(|mode| mode == "serve") {
        return runtime.block_on(serve());
    }
    // `cargo test --benches` runs benchmarks too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    let (mut child, address) = start()?;
    let measured = runtime.block_on(measure(address));
    child.kill()?;
    child.wait()?;
    measured
}

async fn serve() -> Result {
    let server = Acme::server().build().await?;
    let listener = Server::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let routes = server.router();
    Ok(server.serve_until(routes, listener, std::future::pending()).await?)
}

fn start() -> Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    Ok((child, line.trim().parse()?))
}

async fn measure(address: SocketAddr) -> Result {
    let flood = Arc::new(Flood::default());
    for _ in 0..FLOODERS {
        tokio::spawn(throw(address, Arc::clone(&flood)));
    }
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.extend(behave(address).await?);
        flood.on.store(true, Ordering::Relaxed);
        flooded.extend(behave(address).await?);
        flood.on.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let seconds = ROUND.as_secs() * ROUNDS as u64;
    let (frames, closed) = (flood.frames.load(Ordering::Relaxed), flood.closed.load(Ordering::Relaxed));
    println!("{FLOODERS} sockets threw {} frames a second; {closed} were closed with 4429", frames / seconds);
    println!("| acknowledged after | quiet | in the flood | |\n|---|---|---|---|");
    quiet.sort_unstable();
    flooded.sort_unstable();
    for (name, part) in [("median", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let at =
            |times: &[Duration]| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        let (quiet, flooded) = (at(&quiet), at(&flooded));
        println!(
            "| {name} | {quiet:.2?} | {flooded:.2?} | {:.2} times |",
            flooded.as_secs_f64() / quiet.as_secs_f64()
        );
    }
    Ok(())
}

/// Says something at a pace; yields after how long each was acknowledged.
async fn behave(address: SocketAddr) -> Result<Vec<Duration>> {
    let mut socket = open(address).await?;
    ask(&mut socket, json!({ "type": "join", "id": 0, "roomId": "chat", "events": [] })).await?;
    let (mut ticks, end) = (interval(PACE), Instant::now() + ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = ticks.tick().await;
        let trigger = json!({ "type": "trigger", "id": 1, "roomId": "chat", "event": "message", "data": { "text": "x" } });
        let reply = ask(&mut socket, trigger).await?;
        if reply["type"] != "ok" {
            return Err(reply.to_string().into());
        }
        times.push(began.elapsed());
    }
    socket.close(None).await?;
    Ok(times)
}

/// Throws garbage as long as the flood is on, and comes back when it is closed.
async fn throw(address: SocketAddr, flood: Arc<Flood>) -> Result {
    let mut ticks = interval(Duration::from_micros(1_000_000 * FLOODERS / FRAMES_PER_SECOND));
    loop {
        let (mut sink, mut stream) = open(address).await?.split();
        let reading = async {
            while let Some(Ok(frame)) = stream.next().await {
                if let Frame::Close(Some(close)) = frame {
                    flood.closed.fetch_add(u64::from(u16::from(close.code) == 4429), Ordering::Relaxed);
                }
            }
        };
        let throwing = async {
            loop {
                ticks.tick().await;
                if flood.on.load(Ordering::Relaxed)
                    && sink.send(Frame::text("garbage, of some length")).await.is_err()
                {
                    return;
                }
                flood.frames.fetch_add(u64::from(flood.on.load(Ordering::Relaxed)), Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = reading => {}
            () = throwing => {}
        }
    }
}

async fn open(address: SocketAddr) -> Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(client_async("ws://localhost/ws", stream).await?.0)
}

async fn ask(socket: &mut Socket, frame: Value) -> Result<Value> {
    let id = frame["id"].clone();
    socket.send(Frame::text(frame.to_string())).await?;
    loop {
        let frame = socket.next().await.ok_or("the socket ended")??;
        let Frame::Text(text) = frame else { continue };
        let reply: Value = serde_json::from_str(&text)?;
        if reply["id"] == id {
            return Ok(reply);
        }
    }
}
