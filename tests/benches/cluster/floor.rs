//! What Redis does for plain commands with the same payload.

use std::time::Instant;

use dialogue_tests::{RedisServer, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{IN_FLIGHT, TIME, Work};

/// Of an event as it is stored and told.
pub(crate) const PAYLOAD: usize = 128;

/// `PUBLISH` to so many subscribers.
pub(crate) async fn publish(redis: &RedisServer, subscribers: usize) -> Result<Work> {
    let mut listening = JoinSet::new();
    for _ in 0..subscribers {
        let mut wire = connect(redis).await?;
        wire.write_all(b"SUBSCRIBE feed\r\n").await?;
        listening.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while wire.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        });
    }
    let payload = "x".repeat(PAYLOAD);
    let command = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nfeed\r\n${PAYLOAD}\r\n{payload}\r\n");
    let mut work = repeat(redis, &command, 1).await?;
    work.deliveries = work.triggers * u64::try_from(subscribers)?;
    Ok(work)
}

/// `XADD`.
pub(crate) async fn append(redis: &RedisServer) -> Result<Work> {
    let payload = "x".repeat(PAYLOAD);
    let trim = "$6\r\nMAXLEN\r\n$1\r\n~\r\n$4\r\n1000\r\n";
    let command =
        format!("*8\r\n$4\r\nXADD\r\n$3\r\nlog\r\n{trim}$1\r\n*\r\n$1\r\nd\r\n${PAYLOAD}\r\n{payload}\r\n");
    repeat(redis, &command, 2).await
}

/// Sends a command again and again, [`IN_FLIGHT`] in a write; the answer to each has so many lines.
async fn repeat(redis: &RedisServer, command: &str, lines: usize) -> Result<Work> {
    let round = command.repeat(IN_FLIGHT);
    let mut wire = connect(redis).await?;
    let (mut triggers, mut buffer) = (0, vec![0; 64 << 10]);
    let (before, began) = (cpu(redis).await?, Instant::now());
    while began.elapsed() < TIME {
        wire.write_all(round.as_bytes()).await?;
        let mut left = lines * IN_FLIGHT;
        while left > 0 {
            let read = wire.read(&mut buffer).await?;
            left -= buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
        triggers += u64::try_from(IN_FLIGHT)?;
    }
    let (elapsed, redis) = (began.elapsed(), cpu(redis).await? - before);
    Ok(Work { triggers, deliveries: 0, elapsed, ours: 0.0, redis })
}

pub(crate) async fn connect(redis: &RedisServer) -> Result<TcpStream> {
    let wire = TcpStream::connect(("127.0.0.1", redis.port)).await?;
    wire.set_nodelay(true)?;
    Ok(wire)
}

/// Seconds of CPU that the server has used.
pub(crate) async fn cpu(server: &RedisServer) -> Result<f64> {
    let info = server.cli(&["info", "cpu"]).await?;
    let of = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    Ok(["used_cpu_sys:", "used_cpu_user:"].map(|name| of(name).unwrap_or_default()).iter().sum())
}
