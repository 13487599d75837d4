//! How long opening takes with 100,000 rooms of 10 events, and the first answers after it.

use std::time::{Duration, Instant};

use dialogue::store::{Disk, Durability, Store};

use crate::{
    Result, Scratch,
    bare::Bare,
    events::{Acme, Message, append, template},
    median,
};

const ROOMS: u64 = 100_000;
const ROUNDS: usize = 5;

pub(crate) async fn measure() -> Result {
    let template = template().await?;
    let (store, bare) = (Scratch::new("store")?, Scratch::new("bare")?);
    let (engine, disk) = (Bare::open(&bare.0)?, Disk::open(&store.0)?.durability(Durability::Memory));
    for first in (0..ROOMS).step_by(1_000) {
        disk.append((first..first + 1_000).map(|room| append(&template, room, 1..=10)).collect()).await?;
        for seq in 1..=10 {
            engine.append(&template, first..first + 1_000, seq, Durability::Memory)?;
        }
    }
    drop((engine, disk));

    let [mut bare_opened, mut opened, mut head, mut built, mut triggered] =
        [const { Vec::<Duration>::new() }; 5];
    for round in 0..ROUNDS {
        let began = Instant::now();
        drop(Bare::open(&bare.0)?);
        bare_opened.push(began.elapsed());

        let began = Instant::now();
        let disk = Disk::open(&store.0)?;
        opened.push(began.elapsed());
        let began = Instant::now();
        disk.head("project:77777").await?.ok_or("the log is gone")?;
        head.push(began.elapsed());
        let began = Instant::now();
        let server = Acme::server().store(disk).build().await?;
        built.push(began.elapsed());
        let began = Instant::now();
        server.project(50_000 + round as u64).trigger(Message::new(1)).await?;
        triggered.push(began.elapsed());
    }
    println!("\n| with 100,000 rooms of 10 events | ms (median) |\n|---|---|");
    for (name, times) in [
        ("opening and closing the bare engine", bare_opened),
        ("`Disk::open`", opened),
        ("the first `head`", head),
        ("`build` of a server", built),
        ("the first `trigger` into a room that was there", triggered),
    ] {
        println!("| {name} | {:.1} |", median(times).as_secs_f64() * 1e3);
    }
    Ok(())
}
