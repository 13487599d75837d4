//! Acknowledged events per second, of writers that each wait for the answer before they go on.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dialogue::store::{Append, Disk, Durability, Store, StoredEvent};

use crate::{
    Result, Scratch,
    bare::Bare,
    events::{Acme, AcmeServer, Message, numbered, template},
    median,
};

/// Each is measured so often, in turns, and for so long.
const ROUNDS: u64 = 5;
const LENGTH: Duration = Duration::from_millis(800);

pub(crate) async fn measure() -> Result {
    let template = template().await?;
    println!(
        "\n| durability, writers | bare engine | `append` | slower | `trigger` | slower | without a store |"
    );
    println!("|---|---|---|---|---|---|---|");
    for durability in [Durability::Memory, Durability::Written, Durability::Synced] {
        for writers in [1, 64, 1_000] {
            let mut found = [const { Vec::new() }; 4];
            // Files of one name for each, so that none profits from what another left.
            let scratches = [Scratch::new("bare")?, Scratch::new("store")?, Scratch::new("server")?];
            let bare = Bare::open(&scratches[0].0)?;
            let disk = Disk::open(&scratches[1].0)?.durability(durability);
            let kept = Disk::open(&scratches[2].0)?.durability(durability);
            let server = Acme::server().store(kept).build().await?;
            let forgetful = Acme::server().build().await?;
            for round in 0..ROUNDS {
                let rooms = round * writers..(round + 1) * writers;
                found[0].push(of_bare(&bare, &template, rooms.clone(), durability)?);
                found[1].push(of_store(&disk, &template, rooms.clone()).await?);
                found[2].push(of_server(&server, rooms.clone()).await?);
                found[3].push(of_server(&forgetful, rooms).await?);
            }
            let [bare, store, server, without] = found.map(median);
            let slower = |other: u64| format!("{:.2}", bare as f64 / other as f64);
            println!(
                "| {durability:?}, {writers} | {bare} | {store} | {} | {server} | {} | {without} |",
                slower(store),
                slower(server)
            );
        }
    }
    Ok(())
}

fn per_second(events: u64, began: Instant) -> u64 {
    (events as f64 / began.elapsed().as_secs_f64()) as u64
}

/// Batches of one event of each writer.
fn of_bare(bare: &Bare, template: &StoredEvent, rooms: Range<u64>, durability: Durability) -> Result<u64> {
    let (began, mut rounds) = (Instant::now(), 0);
    while began.elapsed() < LENGTH {
        rounds += 1;
        bare.append(template, rooms.clone(), rounds, durability)?;
    }
    Ok(per_second(rounds * (rooms.end - rooms.start), began))
}

/// The same, as a server's rooms append them.
async fn of_store(disk: &Disk, template: &StoredEvent, rooms: Range<u64>) -> Result<u64> {
    let (disk, template) = (disk.clone(), template.clone());
    let (epoch, writers) = (Arc::<str>::from("epoch"), rooms.end - rooms.start);
    let rooms: Vec<Arc<str>> = rooms.map(|room| format!("project:{room}").into()).collect();
    let appending = tokio::spawn(async move {
        let (began, mut rounds) = (Instant::now(), 0);
        while began.elapsed() < LENGTH {
            rounds += 1;
            let append =
                |room| Append::new(Arc::clone(room), Arc::clone(&epoch), vec![numbered(&template, rounds)]);
            disk.append(rooms.iter().map(append).collect()).await?;
        }
        Result::Ok(per_second(rounds * writers, began))
    });
    appending.await?
}

/// Writers that each have a room.
async fn of_server(server: &AcmeServer, rooms: Range<u64>) -> Result<u64> {
    let (over, events) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for room in rooms {
        let handle = server.project(room);
        // The room is there before the time runs.
        handle.trigger(Message::new(0)).await?;
        let (over, events) = (Arc::clone(&over), Arc::clone(&events));
        writers.push(async move {
            while !over.load(Ordering::Relaxed) {
                handle.trigger(Message::new(events.fetch_add(1, Ordering::Relaxed))).await?;
            }
            Ok(())
        });
    }
    let began = Instant::now();
    let writers: Vec<tokio::task::JoinHandle<Result>> = writers.into_iter().map(tokio::spawn).collect();
    tokio::time::sleep(LENGTH).await;
    let found = per_second(events.load(Ordering::Relaxed), began);
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    Ok(found)
}
