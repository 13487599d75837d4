//! Bytes on disk, of a million events in a thousand rooms, once all of them were closed.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use dialogue::store::{Disk, Durability, Store};

use crate::{
    Result, Scratch,
    bare::Bare,
    events::{append, numbered, template},
};

const ROOMS: u64 = 1_000;
const EVENTS: u64 = 1_000;

pub async fn measure() -> Result {
    let template = template().await?;
    let (bare, store) = (Scratch::new("bare")?, Scratch::new("store")?);
    let (engine, disk) = (Bare::open(&bare.0)?, Disk::open(&store.0)?.durability(Durability::Memory));
    for seq in 1..=EVENTS {
        engine.append(&template, 0..ROOMS, seq, Durability::Memory)?;
        disk.append((0..ROOMS).map(|room| append(&template, room, [seq])).collect()).await?;
    }
    drop((engine, disk));
    println!("\n| 1,000,000 events | bytes each |\n|---|---|");
    println!("| payload | {} |", template.data.len());
    println!("| encoded | {} |", numbered(&template, EVENTS).encode().len());
    println!("| on disk, bare engine | {} |", on_disk(&bare.0)? / (ROOMS * EVENTS));
    println!("| on disk, store | {} |", on_disk(&store.0)? / (ROOMS * EVENTS));

    let disk = Disk::open(&store.0)?.durability(Durability::Memory);
    for room in 0..ROOMS {
        disk.trim(&format!("project:{room}"), EVENTS - 99, u64::MAX).await?;
    }
    drop(disk);
    println!(
        "| on disk, store, trimmed to the last 100 of each room | {} |",
        on_disk(&store.0)? / (ROOMS * EVENTS)
    );
    Ok(())
}

/// Bytes that are taken, not those that are reserved.
pub fn on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
