//! How long a page of history takes, in a log of 50,000 events and in one of 5,000,000.

use std::time::{Duration, Instant};

use dialogue::store::{Disk, Durability, Order, Query, Store, Trim};

use crate::{
    Result, Scratch,
    events::{append, template},
    median,
};

const LENGTHS: [u64; 2] = [50_000, 5_000_000];
const PAGE: usize = 50;
const ROUNDS: u64 = 400;

pub(crate) async fn measure() -> Result {
    let template = template().await?;
    let scratch = Scratch::new("pages")?;
    let disk = Disk::open(&scratch.0)?.durability(Durability::Memory);
    for length in LENGTHS {
        for first in (1..=length).step_by(1_000) {
            disk.append(vec![append(&template, length, first..first + 1_000)]).await?;
        }
    }
    println!("\n| a page of {PAGE} events, µs (median) | of 50,000 | of 5,000,000 |\n|---|---|---|");
    let begin = template.timestamp;
    let before = |at: u64, _: u64, query: &mut Query| query.before = Some(at);
    let after = |at: u64, _: u64, query: &mut Query| query.after = Some(at);
    let since = |_: u64, time: u64, query: &mut Query| query.since = Some(time);
    row(&disk, begin, "before a number, newest first", Order::NewestFirst, before).await?;
    row(&disk, begin, "after a number, oldest first", Order::OldestFirst, after).await?;
    row(&disk, begin, "since a time, oldest first", Order::OldestFirst, since).await?;

    for length in LENGTHS {
        disk.trim(&room(length), Trim::new("epoch".into(), length / 2, u64::MAX)).await?;
    }
    row(&disk, begin, "before a number, newest first, half of the log trimmed", Order::NewestFirst, before)
        .await?;
    row(&disk, begin, "the oldest, half of the log trimmed", Order::OldestFirst, |_, _, _| {}).await?;
    row(&disk, begin, "the newest, half of the log trimmed", Order::NewestFirst, |_, _, _| {}).await?;
    Ok(())
}

fn room(length: u64) -> String {
    format!("project:{length}")
}

/// Pages at places all over the newest half of each log.
async fn row(
    disk: &Disk,
    begin: u64,
    name: &str,
    order: Order,
    place: impl Fn(u64, u64, &mut Query),
) -> Result {
    let mut medians = Vec::new();
    for length in LENGTHS {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..ROUNDS {
            let at = fastrand::u64(length / 2 + 100..length - 100);
            let mut query = Query::new(order, PAGE);
            place(at, begin + at, &mut query);
            let began = Instant::now();
            let page = disk.read(&room(length), query).await?;
            times.push(began.elapsed());
            if page.events.len() != PAGE {
                return Err(format!("{} events of {name} at {at}", page.events.len()).into());
            }
        }
        medians.push(format!("{:.0}", median(times).as_secs_f64() * 1e6));
    }
    println!("| {name} | {} |", medians.join(" | "));
    Ok(())
}
