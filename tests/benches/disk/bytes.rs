//! Bytes on disk, of two million events in a thousand rooms, once the store was closed.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use dialogue::store::{Disk, Durability, Store, Trim};

use crate::{
    Result, Scratch,
    events::{append, numbered, template},
};

const ROOMS: u64 = 1_000;
const EVENTS: u64 = 2_000;

pub(crate) async fn measure() -> Result {
    let template = template().await?;
    let scratch = Scratch::new("bytes")?;
    let disk = Disk::open(&scratch.0)?.durability(Durability::Memory);
    for seq in 1..=EVENTS {
        disk.append((0..ROOMS).map(|room| append(&template, room, [seq])).collect()).await?;
    }
    drop(disk);
    println!("\n| {} events in {ROOMS} rooms | |\n|---|---|", ROOMS * EVENTS);
    println!("| payload, bytes each | {} |", template.data.len());
    println!("| encoded, bytes each | {} |", numbered(&template, EVENTS).encode().len());
    println!("| on disk, bytes each | {} |", on_disk(&scratch.0)? / (ROOMS * EVENTS));

    // As a server does that retains 100 of each room.
    let disk = Disk::open(&scratch.0)?.durability(Durability::Memory);
    for seq in EVENTS + 1..=2 * EVENTS {
        disk.append((0..ROOMS).map(|room| append(&template, room, [seq])).collect()).await?;
        let room = seq % ROOMS;
        let trim = Trim::new("epoch".into(), seq.saturating_sub(99), u64::MAX);
        disk.trim(&format!("project:{room}"), trim).await?;
    }
    drop(disk);
    println!(
        "| after as many again, trimmed to 100 each now and then: MB in all | {} |",
        on_disk(&scratch.0)? / 1_000_000
    );
    Ok(())
}

/// Bytes that are taken, not those that are reserved.
pub(crate) fn on_disk(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}
