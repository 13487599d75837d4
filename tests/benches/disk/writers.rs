//! Acknowledged events per second, of writers that each wait for the answer before they go on, and CPU for each.

use std::{
    fmt,
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
    process::own_cpu_time,
};

/// Events in a second, and nanoseconds of CPU for each, of the engine's threads too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Figure {
    per_second: u64,
    nanos: u64,
}

/// A measurement that runs.
struct Began {
    at: Instant,
    cpu: u64,
}

/// Each is measured so often, in turns, and for so long.
const ROUNDS: u64 = 5;
const LENGTH: Duration = Duration::from_millis(800);

pub(crate) async fn measure() -> Result {
    let template = template().await?;
    println!(
        "\nEvents per second (µs of CPU for each)\n\n\
         | durability, writers | bare engine | `append` | slower | `trigger` | slower | without a store |"
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
            let slower = |other: Figure| format!("{:.2}", bare.per_second as f64 / other.per_second as f64);
            println!(
                "| {durability:?}, {writers} | {bare} | {store} | {} | {server} | {} | {without} |",
                slower(store),
                slower(server)
            );
        }
    }
    Ok(())
}

impl Began {
    fn now() -> Self {
        Began { at: Instant::now(), cpu: own_cpu_time() }
    }

    fn figure(&self, events: u64) -> Figure {
        Figure {
            per_second: (events as f64 / self.at.elapsed().as_secs_f64()) as u64,
            nanos: own_cpu_time().saturating_sub(self.cpu) / events.max(1),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:.1})", self.per_second, self.nanos as f64 / 1e3)
    }
}

/// Batches of one event of each writer.
fn of_bare(bare: &Bare, template: &StoredEvent, rooms: Range<u64>, durability: Durability) -> Result<Figure> {
    let (began, mut rounds) = (Began::now(), 0);
    while began.at.elapsed() < LENGTH {
        rounds += 1;
        bare.append(template, rooms.clone(), rounds, durability)?;
    }
    Ok(began.figure(rounds * (rooms.end - rooms.start)))
}

/// The same, as a server's rooms append them.
async fn of_store(disk: &Disk, template: &StoredEvent, rooms: Range<u64>) -> Result<Figure> {
    let (disk, template) = (disk.clone(), template.clone());
    let (epoch, writers) = (Arc::<str>::from("epoch"), rooms.end - rooms.start);
    let rooms: Vec<Arc<str>> = rooms.map(|room| format!("project:{room}").into()).collect();
    let appending = tokio::spawn(async move {
        let (began, mut rounds) = (Began::now(), 0);
        while began.at.elapsed() < LENGTH {
            rounds += 1;
            let append =
                |room| Append::new(Arc::clone(room), Arc::clone(&epoch), vec![numbered(&template, rounds)]);
            disk.append(rooms.iter().map(append).collect()).await?;
        }
        Result::Ok(began.figure(rounds * writers))
    });
    appending.await?
}

/// Writers that each have a room.
async fn of_server(server: &AcmeServer, rooms: Range<u64>) -> Result<Figure> {
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
    let began = Began::now();
    let writers: Vec<tokio::task::JoinHandle<Result>> = writers.into_iter().map(tokio::spawn).collect();
    tokio::time::sleep(LENGTH).await;
    let found = began.figure(events.load(Ordering::Relaxed));
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await??;
    }
    Ok(found)
}
