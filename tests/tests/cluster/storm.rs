//! An instance that is gone for a moment, and everybody back at once: with positions in rooms that it knows nothing of yet.
//! `DIALOGUE_STORM_CLIENTS=10000` for as many as a process holds here.

use std::time::Instant;

use dialogue_tests::{Instance, RedisServer, Result, Socket};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ROOMS: usize = 10;
/// What each room was told while they were away.
const MISSED: usize = 200;
/// What Redis may be asked for a room, however many come back to it, by scripts too: its end, its tail, some pages.
const READS: u64 = 30;
/// And in each second: where its log ends.
const READS_A_SECOND: u64 = 4;
/// What the instance may take for a client that is back, in kB, beside what it takes for none.
const PER_CLIENT: u64 = 16;
const FOR_NONE: u64 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_back_at_once_is_read_for_once_a_room() -> Result {
    let clients = std::env::var("DIALOGUE_STORM_CLIENTS").ok().and_then(|text| text.parse().ok());
    let clients = clients.unwrap_or(1_000);
    let redis = RedisServer::start().await?;
    let backplane = format!("redis:{}", redis.url());
    let mut instance = Instance::start(&[("BACKPLANE", &backplane)]).await?;
    let other = Instance::start(&[("BACKPLANE", &backplane)]).await?;
    let positions = begin(&instance).await?;
    instance.kill().await?;
    fill(&other).await?;
    drop(other);
    instance.restart().await?;

    redis.cli(&["config", "resetstat"]).await?;
    let began = Instant::now();
    let sockets = come_back(&instance, clients, &positions).await?;
    let took = began.elapsed();
    let reads = calls(&redis, "xrange").await? + calls(&redis, "xrevrange").await?;
    let memory = most_memory(&instance)?;
    println!(
        "{clients} back in {:?}: {reads} reads in Redis, {memory} kB of memory at most",
        began.elapsed()
    );
    assert_eq!(sockets.len(), clients);
    let most = (READS + READS_A_SECOND * (took.as_secs() + 1)) * ROOMS as u64;
    assert!(reads > 0 && reads <= most, "{reads} reads");
    assert!(memory <= FOR_NONE + PER_CLIENT * clients as u64, "{memory} kB");
    Ok(())
}

fn room(number: usize) -> String {
    format!("project:{}", number % ROOMS)
}

/// Where somebody stands in each room.
async fn begin(instance: &Instance) -> Result<Vec<Value>> {
    let mut positions = Vec::new();
    for number in 0..ROOMS {
        let mut socket = Socket::join(instance.address, &room(number)).await?;
        socket.say(&room(number), "before").await?;
        socket.events(1).await?;
        positions.push(socket.since());
    }
    Ok(positions)
}

/// Says in each room what they will miss.
async fn fill(instance: &Instance) -> Result {
    for number in 0..ROOMS {
        let mut socket = Socket::join(instance.address, &room(number)).await?;
        for text in 0..MISSED {
            socket.say(&room(number), &text.to_string()).await?;
        }
        socket.events(MISSED).await?;
    }
    Ok(())
}

/// Has them all come back at once, and read what they missed.
async fn come_back(instance: &Instance, clients: usize, positions: &[Value]) -> Result<Vec<Socket>> {
    let mut coming = JoinSet::new();
    for number in 0..clients {
        let (address, since) = (instance.address, positions[number % ROOMS].clone());
        coming.spawn(async move {
            let (mut socket, joined) = Socket::rejoin(address, &room(number), since).await?;
            assert_eq!(
                (&joined["resume"], &joined["replay"]),
                (&json!("complete"), &json!(MISSED)),
                "{joined}"
            );
            socket.events(MISSED).await?;
            Result::Ok(socket)
        });
    }
    coming.join_all().await.into_iter().collect()
}

/// How often a command was run, by scripts too.
async fn calls(redis: &RedisServer, command: &str) -> Result<u64> {
    let stats = redis.cli(&["info", "commandstats"]).await?;
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    let calls = line.and_then(|line| line.split(',').next()).map(str::parse).transpose()?;
    Ok(calls.unwrap_or(0))
}

/// The most memory that the instance ever had, in kB.
fn most_memory(instance: &Instance) -> Result<u64> {
    let id = instance.id().ok_or("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no line on memory")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
