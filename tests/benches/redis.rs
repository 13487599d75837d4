//! What it costs to have rooms' logs in Redis: acknowledged events, beside plain `XADD`s of the same payload.
//!
//! A writer is a task that waits for the `ok` of an event before it says the next. The same writers with a client of Redis
//! each wait for the answer to an `XADD` instead, over one connection. The floor has no writers: one connection sends an
//! `XADD` for each in one write, of bytes that are always the same, and waits for all answers before the next round.
//!
//! What else the machine does moves events per second, and CPU for each event hardly; so both are told.
//! `-- WRITERS,ROOMS…` measures only those.

#[allow(dead_code)]
#[path = "fan_out/process.rs"]
mod process;

use std::{
    fmt::{self, Write as _},
    time::{Duration, Instant},
};

use dialogue::{
    Redis,
    store::{Memory, Store},
};
use dialogue_tests::{RedisServer, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Said by a writer.
#[dialogue::event]
#[derive(Debug)]
pub struct Message {
    /// Of 100 bytes, so that the payload has about 128 with its frame.
    pub text: String,
}

dialogue::rooms! {
    /// Rooms that keep as much as the floor does.
    pub struct Acme;
    #[room(retain(events = 1_000_000))]
    project(u64): [Message] via [websocket];
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ({:.1} + {:.1})", self.per_second, self.own_micros, self.redis_micros)
    }
}

const TIME: Duration = Duration::from_secs(3);
/// Writers, and the rooms that they are spread over.
const CROWDS: [(usize, usize); 5] = [(1, 1), (64, 1), (64, 64), (1_000, 1), (1_000, 1_000)];

/// Events in a second, and CPU for each, of this process and of Redis.
struct Figure {
    per_second: f64,
    own_micros: f64,
    redis_micros: f64,
}

fn main() -> Result {
    // `cargo test --benches` runs benchmarks too, without this.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("measures under `cargo bench` only");
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(compare())
}

async fn compare() -> Result {
    let crowds = crowds()?;
    println!(
        "{TIME:?} each, payloads of 128 bytes; events per second (µs of CPU for each: this process' + Redis')\n"
    );
    println!(
        "| durability | writers | rooms | Dialogue | writers of `XADD` | floor |\n|---|---|---|---|---|---|"
    );
    for fsync in ["no", "everysec", "always"] {
        let append_only = if fsync == "no" { "no" } else { "yes" };
        let options = ["--save", "", "--appendonly", append_only, "--appendfsync", fsync];
        for (writers, rooms) in crowds.clone() {
            let server = RedisServer::with(&options).await?;
            let store = Redis::connect(server.url()).await?;
            let ours = measure(&server, dialogue(store, writers, rooms)).await?;
            let theirs = measure(&server, plain(&server, writers, rooms)).await?;
            let floor = measure(&server, floor(&server, writers, rooms)).await?;
            println!("| {fsync} | {writers} | {rooms} | {ours} | {theirs} | {floor} |");
        }
    }
    println!(
        "\nThe same rooms over a store in this process' memory, which is what they cost by themselves:\n"
    );
    println!("| writers | rooms | events per second |\n|---|---|---|");
    for (writers, rooms) in crowds {
        let events = dialogue(Memory::new(), writers, rooms).await?;
        println!("| {writers} | {rooms} | {} |", events / TIME.as_secs());
    }
    Ok(())
}

/// Those that the command line asks for, or all.
fn crowds() -> Result<Vec<(usize, usize)>> {
    let asked: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let read = |asked: &String| -> Result<_> {
        let (writers, rooms) = asked.split_once(',').ok_or("WRITERS,ROOMS are expected")?;
        Ok((writers.parse()?, rooms.parse()?))
    };
    if asked.is_empty() { Ok(CROWDS.into()) } else { asked.iter().map(read).collect() }
}

/// Runs `work`, which yields how many events it had acknowledged.
async fn measure(server: &RedisServer, work: impl Future<Output = Result<u64>>) -> Result<Figure> {
    server.cli(&["flushall"]).await?;
    let (before, own, began) = (cpu(server).await?, process::own_cpu_time(), Instant::now());
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    let events = work.await? as f64;
    let elapsed = began.elapsed();
    let own = Duration::from_nanos(process::own_cpu_time().saturating_sub(own)).as_secs_f64();
    let busy = cpu(server).await? - before;
    Ok(Figure {
        per_second: events / elapsed.as_secs_f64(),
        own_micros: own * 1e6 / events,
        redis_micros: busy * 1e6 / events,
    })
}

/// Seconds of CPU that the server has used.
async fn cpu(server: &RedisServer) -> Result<f64> {
    let info = server.cli(&["info", "cpu"]).await?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    let used = ["used_cpu_sys:", "used_cpu_user:"].map(|name| of(name).unwrap_or_default());
    Ok(used.iter().sum())
}

async fn dialogue(store: impl Store, writers: usize, rooms: usize) -> Result<u64> {
    let acme = Acme::server().store(store).build().await?;
    let (mut tasks, end) = (JoinSet::new(), Instant::now() + TIME);
    for writer in 0..writers {
        let room = acme.project(u64::try_from(writer % rooms)?);
        tasks.spawn(async move {
            let mut events = 0;
            while Instant::now() < end {
                let sent = room.trigger(Message { text: "x".repeat(100) }).await;
                events += u64::from(sent.is_ok());
            }
            events
        });
    }
    Ok(tasks.join_all().await.iter().sum())
}

async fn plain(server: &RedisServer, writers: usize, rooms: usize) -> Result<u64> {
    let connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let (mut tasks, end) = (JoinSet::new(), Instant::now() + TIME);
    for writer in 0..writers {
        let (mut connection, log) = (connection.clone(), format!("log:{}", writer % rooms));
        tasks.spawn(async move {
            let mut events = 0;
            while Instant::now() < end {
                let mut add = redis::cmd("XADD");
                add.arg(&log).arg("*").arg("d").arg("x".repeat(128));
                events += u64::from(add.exec_async(&mut connection).await.is_ok());
            }
            events
        });
    }
    Ok(tasks.join_all().await.iter().sum())
}

async fn floor(server: &RedisServer, writers: usize, rooms: usize) -> Result<u64> {
    let mut round = String::new();
    for writer in 0..writers {
        let key = format!("log:{}", writer % rooms);
        write!(round, "*5\r\n$4\r\nXADD\r\n${}\r\n{key}\r\n$1\r\n*\r\n$1\r\nd\r\n$128\r\n", key.len())?;
        write!(round, "{}\r\n", "x".repeat(128))?;
    }
    let mut wire = TcpStream::connect(("127.0.0.1", server.port)).await?;
    wire.set_nodelay(true)?;
    let (mut events, mut buffer, end) = (0, vec![0; 64 << 10], Instant::now() + TIME);
    while Instant::now() < end {
        wire.write_all(round.as_bytes()).await?;
        // The answer to each is two lines.
        let mut lines = 2 * writers;
        while lines > 0 {
            let read = wire.read(&mut buffer).await?;
            lines -= buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
        events += u64::try_from(writers)?;
    }
    Ok(events)
}
