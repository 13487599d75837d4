//! What it costs several nodes to share a room over Redis, and how long an event takes from one to another, beside plain
//! `XADD` and `SPUBLISH` of the same payload, 64 in flight.

use std::time::{Duration, Instant};

use dialogue::{
    Redis,
    backplane::{Draft, DraftOutcome, Feed, FeedMessage, NodeMessages, Publication, SharedLogs},
    wire::Id,
};
use dialogue_tests::{RedisServer, Result, event};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const ROOM: &str = "chat";
const TIME: Duration = Duration::from_secs(3);
/// Events that are timed on their way.
const TIMED: u64 = 2_000;

struct Peer {
    id: Id,
    redis: Redis,
    feed: Feed,
    after: u64,
}

impl Peer {
    async fn join(number: u8, server: &RedisServer) -> Result<Self> {
        let id = Id::parse(&format!("node{number:07}")).ok_or("no id")?;
        let redis = Redis::connect(server.url()).await?;
        let feed = redis.join(id).await?;
        feed.follower().follow(ROOM.into());
        let mut node = Peer { id, redis, feed, after: 0 };
        while !matches!(node.feed.next().await, Some(FeedMessage::Gap(_))) {}
        Ok(node)
    }

    async fn put(&mut self, count: u64) -> Result {
        let drafts = (1..=count).map(|seq| Ok(Draft::new(event(seq)?, 200))).collect::<Result<_>>()?;
        let mut share = Publication::new(ROOM.into(), "gr9dy2k4w1c".into(), drafts);
        share.after = self.after;
        let shared = self.redis.publish(self.id, vec![share]).await.swap_remove(0)?;
        if let Some(DraftOutcome::Published(last)) = shared.outcomes.last() {
            self.after = last.seq;
        }
        Ok(())
    }

    /// Puts in `count` events again and again; yields how many in all.
    async fn put_on(mut self, count: u64, end: Instant) -> Result<u64> {
        let mut events = 0;
        while Instant::now() < end {
            self.put(count).await?;
            events += count;
            // What is told must be taken; it is of no further interest.
            while self.feed.next().now_or_never().flatten().is_some() {}
        }
        Ok(events)
    }
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
    println!("one room, {TIME:?} each; events per second, and µs of Redis' CPU for each\n");
    println!("| nodes | events of a share | |\n|---|---|---|");
    for nodes in 1..=3 {
        for count in [1, 32] {
            let server = RedisServer::start().await?;
            println!("| {nodes} | {count} | {} |", together(&server, nodes, count).await?);
        }
    }
    println!("| XADD and SPUBLISH | 1 | {} |", floor(&RedisServer::start().await?).await?);
    let (median, slow) = timed(&RedisServer::start().await?).await?;
    println!("\nfrom one node to another: p50 {median:?}, p99 {slow:?}");
    Ok(())
}

async fn together(server: &RedisServer, nodes: u8, count: u64) -> Result<String> {
    let mut tasks = JoinSet::new();
    let mut joined = Vec::new();
    for number in 0..nodes {
        joined.push(Peer::join(number, server).await?);
    }
    let before = cpu(server).await?;
    for node in joined {
        tasks.spawn(node.put_on(count, Instant::now() + TIME));
    }
    let events = tasks.join_all().await.into_iter().sum::<Result<u64>>()?;
    figure(events, cpu(server).await? - before)
}

async fn floor(server: &RedisServer) -> Result<String> {
    const AT_ONCE: usize = 64;
    let payload = "x".repeat(128);
    let append = format!("*5\r\n$4\r\nXADD\r\n$3\r\nlog\r\n$1\r\n*\r\n$1\r\nd\r\n$128\r\n{payload}\r\n");
    let publish = format!("*3\r\n$8\r\nSPUBLISH\r\n$4\r\nfeed\r\n$128\r\n{payload}\r\n");
    let round = (append + &publish).repeat(AT_ONCE);
    let mut wire = TcpStream::connect(("127.0.0.1", server.port)).await?;
    wire.set_nodelay(true)?;
    let (mut events, mut buffer, end) = (0, vec![0; 64 << 10], Instant::now() + TIME);
    let before = cpu(server).await?;
    while Instant::now() < end {
        wire.write_all(round.as_bytes()).await?;
        // The answers to a pair are three lines.
        let mut lines = 3 * AT_ONCE;
        while lines > 0 {
            let read = wire.read(&mut buffer).await?;
            lines -= buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
        events += u64::try_from(AT_ONCE)?;
    }
    figure(events, cpu(server).await? - before)
}

/// The median and the 99th percentile of the time from a share to its being heard.
async fn timed(server: &RedisServer) -> Result<(Duration, Duration)> {
    let (mut says, mut hears) = (Peer::join(1, server).await?, Peer::join(2, server).await?);
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let began = Instant::now();
        let heard = async {
            while !matches!(hears.feed.next().await, Some(FeedMessage::Events(_)) | None) {}
            began.elapsed()
        };
        let (said, time) = tokio::join!(says.put(1), heard);
        said?;
        times.push(time);
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

fn figure(events: u64, cpu: f64) -> Result<String> {
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    let many = events as f64;
    Ok(format!("{:.0} ({:.1})", many / TIME.as_secs_f64(), cpu * 1e6 / many))
}

/// Seconds of CPU that the server has used.
async fn cpu(server: &RedisServer) -> Result<f64> {
    let info = server.cli(&["info", "cpu"]).await?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    Ok(["used_cpu_sys:", "used_cpu_user:"].map(|name| of(name).unwrap_or_default()).iter().sum())
}
