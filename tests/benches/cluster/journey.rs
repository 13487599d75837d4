//! How long an event takes from one instance to another, when there is nothing else to do.

use std::time::{Duration, Instant};

use dialogue_tests::{Instance, RedisServer, Result, Socket};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    TEXT,
    floor::{PAYLOAD, connect},
};

const TIMED: usize = 2_000;
const ROOM: &str = "project:0";

/// The median and the 99th percentile of the time from a trigger to a member of another instance.
pub(crate) async fn through(from: &Instance, to: &Instance) -> Result<(Duration, Duration)> {
    let mut says = Socket::join(from.address, ROOM).await?;
    let mut hears = Socket::join(to.address, ROOM).await?;
    let data = json!({ "text": "x".repeat(TEXT) });
    let trigger = json!({ "type": "trigger", "roomId": ROOM, "event": "message", "data": data }).to_string();
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let began = Instant::now();
        says.send_text(trigger.clone()).await?;
        hears.events(1).await?;
        times.push(began.elapsed());
        says.events(1).await?;
    }
    Ok(percentiles(times))
}

/// The same from `PUBLISH` to a subscriber.
pub(crate) async fn plain(redis: &RedisServer) -> Result<(Duration, Duration)> {
    let (mut says, mut hears) = (connect(redis).await?, connect(redis).await?);
    hears.write_all(b"SUBSCRIBE feed\r\n").await?;
    answer(&mut hears).await?;
    let command = format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nfeed\r\n${PAYLOAD}\r\n{}\r\n", "x".repeat(PAYLOAD));
    let mut times = Vec::new();
    for _ in 0..TIMED {
        let began = Instant::now();
        says.write_all(command.as_bytes()).await?;
        answer(&mut hears).await?;
        times.push(began.elapsed());
        answer(&mut says).await?;
    }
    Ok(percentiles(times))
}

/// Reads to the end of what is there, which comes at once.
async fn answer(wire: &mut TcpStream) -> Result {
    let mut buffer = [0; 1_024];
    loop {
        match wire.read(&mut buffer).await? {
            0 => return Err("Redis closed the connection".into()),
            read if buffer[..read].ends_with(b"\n") => return Ok(()),
            _ => {}
        }
    }
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    (at(50), at(99))
}
